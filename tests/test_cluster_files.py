"""cluster.yaml, cluster.local.yaml and what lies in cluster/: checked as far as can be offline.

Ray's own schema and preparation say whether it would take the files; what those do not look at
(versions, mounts, secrets, the market, the door) is asserted here.
"""

from __future__ import annotations

import copy
import fnmatch
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

util = pytest.importorskip("ray.autoscaler._private.util", reason="Ray moved its validator")

ROOT = Path(__file__).resolve().parents[1]
REMOTE = "~/hybrid-batch-study"
FILES = ("cluster.yaml", "cluster.local.yaml")


def read(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return config


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` has it before it talks to anybody."""
    found: dict[str, Any] = util.prepare_config(copy.deepcopy(config))
    util.validate_config(found)
    return found


def pins(lock: str) -> dict[str, str]:
    """Versions of a lock, those that it includes among them."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements" / lock).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= pins(line.split()[1])
        elif "==" in line:
            name, _, version = line.partition("==")
            found[name] = version
    return found


def python() -> str:
    """The Python that everything is tested with, as `3.11`."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version: str = table["tool"]["mypy"]["python_version"]
    return version


def commands(config: dict[str, Any]) -> list[str]:
    found = prepared(config)
    keys = [key for key in found if key.endswith("_commands")]
    return [command for key in keys for command in found[key]]


def workers(config: dict[str, Any]) -> dict[str, Any]:
    types = config["available_node_types"]
    return {name: types[name] for name in types if name != config["head_node_type"]}


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_the_file(name: str) -> None:
    found = prepared(read(name))
    types = found["available_node_types"]
    assert found["head_node_type"] in types
    assert sum(entry["min_workers"] for entry in types.values()) <= found["max_workers"]


@pytest.mark.parametrize("name", FILES)
def test_ray_refuses_a_misspelt_key_and_a_wrong_type(name: str) -> None:
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        prepared(read(name) | {"idle_timeout_minuets": 5})
    with pytest.raises(Exception, match="is not of type"):
        prepared(read(name) | {"upscaling_speed": "fast"})


def test_versions_of_the_images_are_those_of_the_lock() -> None:
    short = python().replace(".", "")
    tag = f"rayproject/ray:{pins('runtime.lock')['ray']}-py{short}"
    docker = read("cluster.yaml")["docker"]
    assert docker["head_image"] == f"{tag}-cpu"
    assert docker["worker_image"] == f"{tag}-gpu"
    assert f"FROM {tag}-gpu\n" in (ROOT / "cluster/Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_every_node_is_set_up_from_the_lock_and_from_nothing_else(name: str) -> None:
    config = read(name)
    install = f"cd {REMOTE} && python{python()} requirements/install.py cluster --exact-python"
    found = prepared(config)
    assert found["head_setup_commands"][0] == found["worker_setup_commands"][0] == install
    assert config["setup_commands"], "without them Ray's defaults install a nightly build"
    assert not [command for command in commands(config) if re.search(r"pip install|http", command)]
    assert pins("cluster.lock").items() >= pins("runtime.lock").items()
    assert {"boto3", "psycopg", "s3fs"} <= pins("cluster.lock").keys()


@pytest.mark.parametrize("name", FILES)
def test_mounts_exist_and_hold_what_the_commands_run(name: str) -> None:
    config = read(name)
    mounts = config["file_mounts"]
    assert (ROOT / mounts[REMOTE]).resolve() == ROOT
    assert set(mounts) == {REMOTE, "~/.ray/auth_token"}
    used = {path for text in commands(config) for path in re.findall(rf"{REMOTE}/([\w./]+)", text)}
    used |= {"requirements/install.py", "requirements/cluster.lock", "requirements/runtime.lock"}
    used |= {
        "pyproject.toml",
        "study/run.py",
        "trainables/spec/spec.py",
        "study/spaces/batch_size.yaml",
    }
    assert "cluster/environment.sh" in used
    for path in used:
        assert (ROOT / path).is_file(), path
        parts = [*Path(path).parts, path]
        hidden = [p for p in config["rsync_exclude"] if any(fnmatch.fnmatch(x, p) for x in parts)]
        assert not hidden, f"{path} is not shipped: {hidden}"
    for large in (".git", ".venv", "runs"):
        assert large in config["rsync_exclude"]


@pytest.mark.parametrize("name", FILES)
def test_the_token_that_is_shipped_is_the_one_that_the_first_command_makes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.authentication import authentication_token_setup as setup

    text = (ROOT / name).read_text(encoding="utf-8")
    assert "ray get-auth-token --generate && chmod 600 ~/.ray/auth_token" in text
    monkeypatch.setenv("HOME", str(tmp_path))
    setup.generate_and_save_token()
    made = Path(read(name)["file_mounts"]["~/.ray/auth_token"]).expanduser()
    assert made.parent == tmp_path / ".ray"
    assert len(made.read_text(encoding="ascii")) >= 32


SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"BEGIN [A-Z ]*PRIVATE KEY",
    r"\b[0-9a-f]{32,}\b",
    r"://[^/\s]*:[^/\s]*@",
    r"(?i)(password|secret|access_key)\s*[:=]\s*[^\s$\"'{]",
)


@pytest.mark.parametrize("name", [*FILES, "cluster/rayjob.yaml", "cluster/environment.sh"])
def test_no_secret_in_the_file(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not [pattern for pattern in SECRETS if re.search(pattern, text)]


def test_the_check_for_secrets_finds_them() -> None:
    planted = ("AKIA" + "A" * 16, "postgresql://me:x@host/db", "password: hunter2", "0123abcd" * 4)
    for text in planted:
        assert [pattern for pattern in SECRETS if re.search(pattern, text)], text


def test_only_workers_are_bought_on_the_spot_market() -> None:
    config = read("cluster.yaml")
    head = config["available_node_types"][config["head_node_type"]]
    assert "InstanceMarketOptions" not in head["node_config"]
    for entry in workers(config).values():
        assert entry["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert entry["min_workers"] == 0
    kinds = {entry["node_config"]["InstanceType"] for entry in workers(config).values()}
    assert len(kinds) >= 3, "one type is often sold out"
    assert len(config["provider"]["availability_zone"].split(",")) >= 3
    assert config["provider"]["cache_stopped_nodes"] is False
    assert 5 <= config["idle_timeout_minutes"] <= 15
    profiles = {e["node_config"]["IamInstanceProfile"]["Name"] for e in workers(config).values()}
    assert profiles == {"hybrid-batch-study-worker"}, "workers must not have the head's rights"


def test_the_head_on_aws_takes_no_trials() -> None:
    config = read("cluster.yaml")
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "--num-cpus=0 --num-gpus=0" in config["head_start_ray_commands"][-1]
    for entry in workers(config).values():
        assert entry["resources"]["GPU"] >= 1


@pytest.mark.parametrize("name", FILES)
def test_ray_is_started_with_the_token_and_shows_its_pages_to_nobody(name: str) -> None:
    config = read(name)
    for role in ("head", "worker"):
        starts = config[f"{role}_start_ray_commands"]
        assert all(text.startswith(f". {REMOTE}/cluster/environment.sh;") for text in starts)
        assert "ray start" in starts[-1]
        assert "0.0.0.0" not in " ".join(starts)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in head, "AWS's default is every interface"
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker
    assert ("RAY_enable_autoscaler_v2=0" in head) == (config["provider"]["type"] == "local")


def test_what_the_environment_of_a_node_says(tmp_path: Path) -> None:
    said = subprocess.run(
        ["bash", "-c", f". {ROOT}/cluster/environment.sh && env"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(line.partition("=")[::2] for line in said.splitlines())
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"] == f"{tmp_path}/.ray/auth_token"
    assert found["PATH"].startswith(f"{ROOT}/.venv/bin:")
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"
    assert found["RAY_USAGE_STATS_REPORT_URL"].startswith("http://127.0.0.1:")
    assert found["RAY_enable_metrics_collection"] == "0"
    assert found["STUDY_STATE"] == f"{tmp_path}/study-state"


def test_the_kubernetes_manifest() -> None:
    text = (ROOT / "cluster/rayjob.yaml").read_text(encoding="utf-8")
    job, policy = yaml.safe_load_all(text)
    spec = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["rayVersion"] == pins("runtime.lock")["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    head, (worker,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == head["rayStartParams"]["num-gpus"] == "0"
    assert worker["minReplicas"] == worker["replicas"] == 0
    assert "spot" in str(worker["template"]["spec"]["nodeSelector"])
    assert "nodeSelector" not in head["template"]["spec"]
    for group in (head, worker):
        (container,) = group["template"]["spec"]["containers"]
        values = {entry["name"]: entry["value"] for entry in container["env"]}
        assert values["RAY_USAGE_STATS_ENABLED"] == values["RAY_enable_metrics_collection"] == "0"
    words = job["spec"]["entrypoint"].split()
    assert "s3://" in words[words.index("--root") + 1]
    assert policy["spec"]["policyTypes"] == ["Ingress"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_aws_would_start_it_with_one_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own steps against an AWS on this machine: groups, keys, instances of every type."""
    moto = pytest.importorskip("moto", reason="moto, of the extra dev, is not installed")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "nobody")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read("cluster.yaml")
    with moto.mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

        iam = boto3.client("iam")
        for role in ("head", "worker"):
            iam.create_instance_profile(InstanceProfileName=f"hybrid-batch-study-{role}")
        ready = bootstrap_aws(prepared(config))  # type: ignore[no-untyped-call]
        provider = AWSNodeProvider(  # type: ignore[no-untyped-call]
            ready["provider"], ready["cluster_name"]
        )
        for name, entry in ready["available_node_types"].items():
            provider.create_node(entry["node_config"], {"ray-node-type": name}, 1)
        ec2 = boto3.client("ec2")
        machines = [
            machine
            for reservation in ec2.describe_instances()["Reservations"]
            for machine in reservation["Instances"]
        ]
        groups = {g["GroupId"]: g for g in ec2.describe_security_groups()["SecurityGroups"]}
        used = {group["GroupId"] for machine in machines for group in machine["SecurityGroups"]}
        assert len(machines) == len(config["available_node_types"])
        assert {groups[name]["GroupName"] for name in used} == {"hybrid-batch-study"}
        for group in used:
            rules = groups[group]["IpPermissions"]
            open_ones = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
            assert [(rule["FromPort"], rule["ToPort"]) for rule in open_ones] == [(22, 22)]
            inside = [pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]]
            assert set(inside) <= used
