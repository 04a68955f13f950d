"""BCP-47 codes for the ways in which sources name languages: names, ISO 639-3, FLORES-200."""

from __future__ import annotations

from trainables.errors import UserError

_NAMES = """
arabic=ar bengali=bn chinese=zh dutch=nl english=en finnish=fi french=fr german=de hindi=hi
indonesian=id italian=it japanese=ja korean=ko portuguese=pt russian=ru spanish=es swahili=sw
telugu=te thai=th vietnamese=vi
"""
_ISO_639_3 = """
afr=af als=sq amh=am arb=ar asm=as azj=az bam=bm ben=bn bod=bo bul=bg cat=ca ces=cs dan=da deu=de
ell=el eng=en est=et eus=eu fin=fi fra=fr gaz=om grn=gn guj=gu hat=ht hau=ha heb=he hin=hi hrv=hr
hun=hu hye=hy ibo=ig ind=id isl=is ita=it jav=jv jpn=ja kan=kn kat=ka kaz=kk khk=mn khm=km kin=rw
kir=ky kor=ko lao=lo lin=ln lit=lt lug=lg lvs=lv mal=ml mar=mr mkd=mk mlt=mt mri=mi mya=my nld=nl
nob=nb npi=ne nya=ny ory=or pan=pa pbt=ps pes=fa plt=mg pol=pl por=pt ron=ro rus=ru sin=si slk=sk
slv=sl sna=sn snd=sd som=so sot=st spa=es srp=sr ssw=ss sun=su swa=sw swe=sv swh=sw tam=ta tel=te
tgk=tg tgl=tl tha=th tir=ti tsn=tn tso=ts tur=tr twi=tw ukr=uk urd=ur uzn=uz vie=vi wol=wo xho=xh
yor=yo zho=zh zsm=ms zul=zu
"""
"""Those that have two letters in BCP-47; macrolanguages stand for their standard variety."""

_CODES = dict(pair.split("=") for pair in (_NAMES + _ISO_639_3).split())
NAMES = {code: name for name, code in (pair.split("=") for pair in _NAMES.split())}
"""BCP-47 code to the English name that sources use in names of files."""

_WRITTEN_TWICE = frozenset({"ar", "bn", "hi", "ne", "si", "ur"})
"""Languages that Belebele also has in Latin script; the other script is the usual one."""


def bcp47(code: str) -> str:
    """The BCP-47 code of a language as a source names it.

    Args:
        code: A name (`swahili`), ISO 639-3 (`swa`), FLORES-200 (`hin_Latn`), a locale (`zh_cn`),
            or a BCP-47 code already.

    Returns:
        Two letters where BCP-47 has them; the script only where it is needed: both of Chinese,
        and Latin where another is usual (`hi-Latn`). `sw`, `ceb`, `zh-Hant`, `zh-CN`.

    Raises:
        UserError: Not a language.
    """
    language, _, rest = code.strip().replace("-", "_").partition("_")
    found = _CODES.get(language.lower(), language.lower())
    if not (found.isascii() and found.isalpha() and 2 <= len(found) <= 3):
        raise UserError(f"{code!r} is not a language: use a BCP-47 code such as sw, ceb or zh-Hant")
    if len(rest) == 4 and rest.isalpha():
        script = rest.title()
        shown = found == "zh" or (script == "Latn" and found in _WRITTEN_TWICE)
        return f"{found}-{script}" if shown else found
    return f"{found}-{rest.upper()}" if rest else found


def base_language(code: str) -> str:
    """The language of a BCP-47 code, whatever its script or region: `zh` of `zh-Hans` and `zh-HK`.

    Latin script where another is usual (`hi-Latn`) is a case of its own: who reads one of the two
    need not read the other.
    """
    base, _, rest = code.partition("-")
    return code if rest == "Latn" else base


_BELEBELE = """
acm_Arab afr_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng
azj_Latn bam_Latn ben_Beng ben_Latn bod_Tibt bul_Cyrl cat_Latn ceb_Latn ces_Latn ckb_Arab dan_Latn
deu_Latn ell_Grek eng_Latn est_Latn eus_Latn fin_Latn fra_Latn fuv_Latn gaz_Latn grn_Latn guj_Gujr
hat_Latn hau_Latn heb_Hebr hin_Deva hin_Latn hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn
isl_Latn ita_Latn jav_Latn jpn_Jpan kac_Latn kan_Knda kat_Geor kaz_Cyrl kea_Latn khk_Cyrl khm_Khmr
kin_Latn kir_Cyrl kor_Hang lao_Laoo lin_Latn lit_Latn lug_Latn luo_Latn lvs_Latn mal_Mlym mar_Deva
mkd_Cyrl mlt_Latn mri_Latn mya_Mymr nld_Latn nob_Latn npi_Deva npi_Latn nso_Latn nya_Latn ory_Orya
pan_Guru pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn ron_Latn rus_Cyrl shn_Mymr sin_Latn sin_Sinh
slk_Latn slv_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn
swh_Latn tam_Taml tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tsn_Latn tso_Latn tur_Latn ukr_Cyrl
urd_Arab urd_Latn uzn_Latn vie_Latn war_Latn wol_Latn xho_Latn yor_Latn zho_Hans zho_Hant zsm_Latn
zul_Latn
"""
BELEBELE = tuple(_BELEBELE.split())
"""The variants of Belebele, as its files are named."""
