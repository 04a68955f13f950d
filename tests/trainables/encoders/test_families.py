"""Defaults read from checkpoint folders as their makers write them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainables.encoders.families import checkpoint_digest, family_defaults, find_checkpoint
from trainables.errors import DataError, UserError

BERT = {"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}
XLMR = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}


def write(folder: Path, **files: Any) -> Path:
    """Write JSON files; `__` in a keyword stands for a slash."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def modules(*names: str) -> list[dict[str, str]]:
    paths = ["" if number == 0 else f"{number}_{name}" for number, name in enumerate(names)]
    return [
        {"type": f"sentence_transformers.models.{name}", "path": path}
        for name, path in zip(names, paths, strict=True)
    ]


CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def test_a_raw_language_model_gets_mean_pooling_and_the_prefixes_of_the_paper(
    tmp_path: Path,
) -> None:
    found = family_defaults(write(tmp_path, config=XLMR), "FacebookAI/xlm-roberta-base")
    assert (found.pooling, found.query_prefix, found.passage_prefix) == (
        "mean",
        "Query: ",
        "Passage: ",
    )
    assert found.max_query_tokens == found.max_passage_tokens == 512
    assert found.layout.layers == ()


def test_multilingual_e5(tmp_path: Path) -> None:
    write(
        tmp_path,
        config=XLMR,
        modules=modules("Transformer", "Pooling", "Normalize"),
        sentence_bert_config={"max_seq_length": 512},
        **{"1_Pooling__config": MEAN},
    )
    found = family_defaults(tmp_path, "intfloat/multilingual-e5-base")
    assert (found.query_prefix, found.passage_prefix) == ("query: ", "passage: ")
    assert (found.pooling, found.max_passage_tokens) == ("mean", 512)
    instruct = family_defaults(tmp_path, "intfloat/multilingual-e5-large-instruct")
    assert instruct.query_prefix.startswith("Instruct: ")
    assert instruct.passage_prefix == ""


def test_labse_has_cls_pooling_and_a_dense_layer(tmp_path: Path) -> None:
    write(
        tmp_path,
        config=BERT,
        modules=modules("Transformer", "Pooling", "Dense", "Normalize"),
        sentence_bert_config={"max_seq_length": 256},
        **{"1_Pooling__config": CLS, "2_Dense__config": {"in_features": 768, "out_features": 768}},
    )
    found = family_defaults(tmp_path, "sentence-transformers/LaBSE")
    assert (found.pooling, found.max_query_tokens) == ("cls", 256)
    assert [layer.folder.name for layer in found.layout.layers] == ["2_Dense"]
    assert found.query_prefix == found.passage_prefix == ""


def test_files_of_newer_sentence_transformers(tmp_path: Path) -> None:
    """Since 5.4 pooling is one word, and the length stands in the tokenizer's file."""
    write(
        tmp_path,
        config=BERT,
        modules=modules("Transformer", "Pooling"),
        sentence_bert_config={"transformer_task": "feature-extraction"},
        tokenizer_config={"model_max_length": 128},
        config_sentence_transformers={"prompts": {"query": "q: ", "document": "d: "}},
        **{"1_Pooling__config": {"pooling_mode": "cls", "include_prompt": True}},
    )
    found = family_defaults(tmp_path, "someone/model")
    assert (found.pooling, found.max_query_tokens) == ("cls", 128)
    assert (found.query_prefix, found.passage_prefix) == ("q: ", "d: ")


@pytest.mark.parametrize(
    ("config", "limit"), [(BERT, 512), (XLMR, 512), ({"model_type": "t5"}, 8192)]
)
def test_no_limit_lies_above_the_table_of_positions(
    tmp_path: Path, config: dict[str, Any], limit: int
) -> None:
    write(
        tmp_path,
        config=config,
        modules=modules("Transformer", "Pooling"),
        sentence_bert_config={"max_seq_length": 8192},
        **{"1_Pooling__config": MEAN},
    )
    assert family_defaults(tmp_path, "x").max_passage_tokens == limit


def test_our_own_file_wins(tmp_path: Path) -> None:
    own = {
        "pooling": "cls",
        "query_prefix": "",
        "passage_prefix": "p ",
        "max_query_tokens": 48,
        "max_passage_tokens": 64,
    }
    found = family_defaults(write(tmp_path, config=XLMR, encoder=own), "multilingual-e5-base")
    assert {key: getattr(found, key) for key in own} == own


def test_what_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    write(tmp_path, config=BERT, modules=modules("Transformer", "LSTM", "Pooling"))
    with pytest.raises(DataError) as unknown:
        family_defaults(tmp_path, "x")
    assert (unknown.value.file, unknown.value.key) == (str(tmp_path / "modules.json"), "type")
    write(tmp_path, modules=modules("Transformer", "Pooling"))
    write(tmp_path, **{"1_Pooling__config": {"pooling_mode": "mean", "include_prompt": False}})
    assert family_defaults(tmp_path, "x").query_prefix == ""
    with pytest.raises(DataError) as left_out:
        family_defaults(tmp_path, "x", {"query_prefix": "query: "})
    assert left_out.value.key == "include_prompt"


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        find_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(UserError, match="not JSON"):
        find_checkpoint(tmp_path)


def test_an_unknown_hub_id_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"no such folder.*not in the local cache.*hf download"):
        find_checkpoint("nobody/no-such-model")


def test_the_digest_follows_content_and_ignores_what_cannot_matter(tmp_path: Path) -> None:
    write(tmp_path, config=BERT)
    before = checkpoint_digest(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert checkpoint_digest(tmp_path) == before
    write(tmp_path, config=XLMR)
    assert checkpoint_digest(tmp_path) != before


def test_families_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, trainables.encoders.families\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
