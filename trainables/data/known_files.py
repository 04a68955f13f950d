"""Files whose content is known: bytes and git's blob id, by name.

Taken from the sources' repositories at the commits that `sources` names. A file that is not listed
is not wrong, only not known.
"""

from __future__ import annotations

from trainables.data.caption_sets import XTD10
from trainables.data.xflickrco import LANGUAGES as XFLICKRCO

KNOWN_FILES: dict[str, dict[str, tuple[int, str]]] = {
    "xquad_r": {
        "ar.json": (2234875, "b716810493c5af210e20219aba5e281a46176ff6"),
        "de.json": (732156, "448cc0d29bc5b2fbe13f583323a3d8acee459ca6"),
        "el.json": (2810127, "ee5dc6c358d17292a209f2187d48c82b063a7cb5"),
        "en.json": (628651, "ce35577351785945e1cdde9d5db21c15a81cfc73"),
        "es.json": (746335, "85c31643695ac948861e1ff9b4d6b059b36ef550"),
        "hi.json": (2408404, "d2657301f925a47a60b097f8d9803fb1d4fce5bf"),
        "ru.json": (2764904, "42d4c486307edfa310b0f529c284aa4260da7775"),
        "th.json": (2618544, "cb6fbe10ea242c9310c46ec08abbac09d077fa7d"),
        "tr.json": (827827, "3acfbf09085f0ada65e566f6af218ee757365319"),
        "vi.json": (1132303, "7206da0058e809272e8fcb81e1aa79703e812d49"),
        "zh.json": (959291, "943e0af3f504e09dc200e41ade3c67f191dbd0ef"),
    },
    "xquad": {
        "xquad.en.json": (609383, "cc0e3e8b94910097d29d2e9df5f266e1b30b2810"),
        "xquad.ro.json": (661158, "67d772041313acbc97fbf7a8995ecdcaeee0e758"),
    },
    "afriqa": {
        "gold_span_passages.afriqa.bem.en.dev.json": (
            174401,
            "cbe81b7864f6a45ae03ce38f668de6c5b610defa",
        ),
        "gold_span_passages.afriqa.bem.en.train.json": (
            234959,
            "6ef605bd0690968924f1e4cc16de8389ee2cc71a",
        ),
        "gold_span_passages.afriqa.fon.fr.dev.json": (
            351142,
            "16f3bd2b7e639aa94d42e34e32a5bcb718de781c",
        ),
        "gold_span_passages.afriqa.fon.fr.train.json": (
            362681,
            "9cc4f57cbaacc0d508d9b200673c634e3c5c80d1",
        ),
        "gold_span_passages.afriqa.hau.en.dev.json": (
            201939,
            "ecb678b7a1da526fd7b32514d77cd819aec3065c",
        ),
        "gold_span_passages.afriqa.hau.en.train.json": (
            202993,
            "923d309e2818b9a199374e2c4c85f62c982a80f9",
        ),
        "gold_span_passages.afriqa.ibo.en.dev.json": (
            328129,
            "0f102930cf23a541395935c79db762742b3e9466",
        ),
        "gold_span_passages.afriqa.ibo.en.train.json": (
            306759,
            "69849ab293de0e0533251da0bd741767792194f9",
        ),
        "gold_span_passages.afriqa.kin.en.dev.json": (
            208392,
            "506f8dbba3477e7ed0042bbe00f2af42cc8df764",
        ),
        "gold_span_passages.afriqa.kin.en.train.json": (
            201276,
            "3fb0f21beb4f0fbd7e9b0eb1e5f4ae7902eb5aa3",
        ),
        "gold_span_passages.afriqa.twi.en.dev.json": (
            328038,
            "0dbd4725eb286dd9a6b48e27197eb7aead05277f",
        ),
        "gold_span_passages.afriqa.twi.en.train.json": (
            331466,
            "79c55e91dda1cc604461393029237231cae81bd7",
        ),
        "gold_span_passages.afriqa.yor.en.train.json": (
            155554,
            "fd27032a6d0bec7acd3daacdaf343908642bf516",
        ),
        "gold_span_passages.afriqa.zul.en.dev.json": (
            269899,
            "b6f407219686b8004059c35a898f35ab79d4467f",
        ),
        "gold_span_passages.afriqa.zul.en.train.json": (
            271088,
            "f5e1cdc4e1194583adc0ef20489a29f39a8e83ed",
        ),
    },
    "amqa": {
        "dev_data.json": (497305, "0caa8b89ae49155582727102f5864ae4109850ad"),
        "train_data.json": (1747838, "2ce2354409eaa71756840e842785a3bf697f5fec"),
    },
    "tydiqa": {
        "english_tydiqa_train.json": (3170735, "889ed9c0c680e9e8a1be63489eafae21e50cf313"),
        "korean_tydiqa_train.json": (1564116, "5b3b011e74ca5d1467263f4f445865342d00cf5e"),
        "swahili_tydiqa_train.json": (1613532, "ec0f8c91512164da1dca497e77c7f75e0d11af9e"),
    },
    "mkqa": {
        "mkqa_dev.zip": (1068983, "4a3e28d095bbbac7fb25b73d289bde8acd19b63a"),
    },
    "mr_tydi": {
        "qrels.mrtydi-v1.1-ar.dev.txt": (59053, "fbbdcce5daf526d238746e8dbfc472be9b2271e9"),
        "qrels.mrtydi-v1.1-bn.dev.txt": (7777, "ee55e9f37a7109591726324a69d521c6e657b928"),
        "qrels.mrtydi-v1.1-en.dev.txt": (17082, "787fe91915dbe77d008fa42a854994d9caaa1004"),
        "qrels.mrtydi-v1.1-fi.dev.txt": (31898, "442ac38051aa5f99eb23b47ea708f03d7a33f854"),
        "qrels.mrtydi-v1.1-id.dev.txt": (22389, "e5123c442736c5a9e5eebf7b158aaab3089a90f7"),
        "qrels.mrtydi-v1.1-ja.dev.txt": (17351, "24148e9a197b0979dfe689dc703475df2d99c363"),
        "qrels.mrtydi-v1.1-ko.dev.txt": (5358, "58798f42160078d92f367adcbfefae0f11b38b57"),
        "qrels.mrtydi-v1.1-ru.dev.txt": (25931, "29ca01249510c1c173a8865875bfe7389d824895"),
        "qrels.mrtydi-v1.1-sw.dev.txt": (10774, "b2db91e794d1eee68260eafbdef87491e981b35a"),
        "qrels.mrtydi-v1.1-te.dev.txt": (17603, "48f8c79d775fc3b33fdf79bcaa4bf5cb7cd4886d"),
        "qrels.mrtydi-v1.1-th.dev.txt": (14697, "ef00ac7e9f9cefeea949fc66649542d215dbb1b3"),
        "topics.mrtydi-v1.1-ar.dev.txt.gz": (57007, "0191c211a7d6fa4e65969fc515d3f57d754b5728"),
        "topics.mrtydi-v1.1-bn.dev.txt.gz": (12477, "90d718ab2e08411f19a7d3b2341745bd4ad3ba77"),
        "topics.mrtydi-v1.1-en.dev.txt.gz": (16877, "a404706383ba0ad564b1a696e78dd4b59f19ff33"),
        "topics.mrtydi-v1.1-fi.dev.txt.gz": (32665, "e7357193e37d3fd02911082a96b25cd574e3e894"),
        "topics.mrtydi-v1.1-id.dev.txt.gz": (20281, "c86c2110386462a3d87ed34b4f9a50463dab864f"),
        "topics.mrtydi-v1.1-ja.dev.txt.gz": (20361, "d349fd5401fcffd4b783f9eea79075ff68b9e2c9"),
        "topics.mrtydi-v1.1-ko.dev.txt.gz": (7299, "7935d3c4227b9961e1dc35730045bcd560826fd2"),
        "topics.mrtydi-v1.1-ru.dev.txt.gz": (36761, "1cd170f3276940516dc1c3db0d85a310f1be949c"),
        "topics.mrtydi-v1.1-sw.dev.txt.gz": (8501, "bf476715a24b0fa1478d4b12139a04998b532bb6"),
        "topics.mrtydi-v1.1-te.dev.txt.gz": (20352, "32f5bf6d0f9b3d5b126848a4bc5205f05b1b2ac2"),
        "topics.mrtydi-v1.1-th.dev.txt.gz": (23566, "9897833b581d319cc29fa8cfe1ec2cff6f7e8fc9"),
    },
    "miracl": {
        "qrels.miracl-v1.0-bn-train.tsv": (302570, "cd45074f9772128a5db47e49d99dda6150eee0a8"),
        "qrels.miracl-v1.0-sw-train.tsv": (166752, "c078bf2f22913e88d207f711cecf0d32abe80586"),
        "qrels.miracl-v1.0-te-train.tsv": (334413, "4d43e788f58ba5fbfaa8409e0edaa8daf3c89f4e"),
        "qrels.miracl-v1.0-th-train.tsv": (395454, "3c449322118f0abe83d9ea580cd2fb105bd8ebf4"),
        "topics.miracl-v1.0-bn-train.tsv": (212262, "e8b0fc01a7856bc860e9ca13924c69e8bc4f73e2"),
        "topics.miracl-v1.0-sw-train.tsv": (84980, "7bd11f31e51d4378c8b7f1ab81d78029c552fcd5"),
        "topics.miracl-v1.0-te-train.tsv": (375820, "2b3136a3f86cf1da412a77bcf71e18cfa3349722"),
        "topics.miracl-v1.0-th-train.tsv": (379671, "6aeb7a0c1abe346d06ff7da97542831e5a0b259a"),
    },
    "squad_translated": {
        "SQuAD_it-test.json.gz": (1051245, "0195a101a058e0aeaccdf701ceb0ed4d5421eb3e"),
    },
}
"""The Spanish SQuAD is left out: its source has it unpacked."""

KNOWN_COUNTS: dict[tuple[str, str | None], dict[str, tuple[int, int | None]]] = {
    ("xquad_r", None): {
        language: (1190, candidates)
        for language, candidates in {
            "ar": 1222,
            "de": 1276,
            "el": 1234,
            "en": 1180,
            "es": 1215,
            "hi": 1244,
            "ru": 1219,
            "th": 852,
            "tr": 1167,
            "vi": 1209,
            "zh": 1196,
        }.items()
    },
    ("xquad", None): {
        language: (queries, 240)
        for language, queries in {
            "ar": 1186,
            "de": 1181,
            "el": 1184,
            "en": 1185,
            "es": 1184,
            "hi": 1183,
            "ro": 1184,
            "ru": 1185,
            "th": 1180,
            "tr": 1184,
            "vi": 1182,
            "zh": 1181,
        }.items()
    },
    ("tydiqa", "dev"): {
        "ar": (921, 842),
        "bn": (113, 105),
        "en": (440, 429),
        "fi": (782, 634),
        "id": (565, 514),
        "ko": (276, 228),
        "ru": (812, 778),
        "sw": (499, 357),
        "te": (669, 601),
    },
    ("tydiqa", "train"): {
        "ar": (14805, None),
        "bn": (2390, None),
        "en": (3696, 3429),
        "fi": (6855, None),
        "id": (5702, None),
        "ko": (1625, 1269),
        "ru": (6490, None),
        "sw": (2755, 1687),
        "te": (5563, None),
    },
    ("amqa", "dev"): {"am": (600, 57)},
    ("amqa", "train"): {"am": (1723, 286)},
    ("mr_tydi", "dev"): {
        "ar": (3115, None),
        "bn": (440, None),
        "en": (878, None),
        "fi": (1738, None),
        "id": (1224, None),
        "ja": (928, None),
        "ko": (303, None),
        "ru": (1375, None),
        "sw": (526, None),
        "te": (983, None),
        "th": (807, None),
    },
    ("miracl", "train"): {
        "bn": (1631, None),
        "sw": (1901, None),
        "te": (3452, None),
        "th": (2972, None),
    },
    ("emoji", "all"): dict.fromkeys(
        "ar de el en es fr hi ru sw th tr vi zh".split(),  # noqa: SIM905
        (1576, 1576),
    ),
    ("multi30k", "train"): dict.fromkeys(("cs", "de", "en", "fr"), (29000, 29000)),
    ("multi30k", "val"): dict.fromkeys(("cs", "de", "en", "fr"), (1014, 1014)),
    ("multi30k", "test_2017_flickr"): dict.fromkeys(("de", "en", "fr"), (1000, 1000)),
    ("multi30k", "val_x5"): dict.fromkeys(("de", "en"), (5070, 1014)),
    ("xflickrco", "test"): dict.fromkeys(XFLICKRCO, (2000, 2000)),
    ("xflickrco", "flickr30k"): dict.fromkeys(XFLICKRCO, (1000, 1000)),
    ("xflickrco", "coco"): dict.fromkeys(XFLICKRCO, (1000, 1000)),
    ("xflickrco", "train_10"): dict.fromkeys(("es", "id", "ru", "tr", "zh"), (10, 10)),
    ("xflickrco", "train_100"): dict.fromkeys(
        ("de", "es", "id", "ja", "ru", "tr", "zh"), (100, 100)
    ),
    ("xflickrco", "train_500"): dict.fromkeys(("de", "ja"), (500, 500)),
    ("xflickrco", "train_1000"): dict.fromkeys(("de", "ja"), (1000, 1000)),
    ("xflickrco", "train_100x5"): dict.fromkeys(("de", "ja"), (500, 100)),
    ("xflickrco", "train_200x5"): dict.fromkeys(("de", "ja"), (1000, 200)),
    ("xtd10", None): dict.fromkeys(XTD10, (1000, 1000)),
}
"""Source and part to language to queries and, where known, candidates, as published or counted; of
pictures to captions and pictures."""
