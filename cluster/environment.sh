# What Ray and the studies read from the environment, on every node of a cluster. Sourced by the
# start commands of cluster.yaml and cluster.local.yaml and by ~/.bashrc; docs/cluster.md explains.

STUDY_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export STUDY_HOME
export PATH="${STUDY_VENV:-$STUDY_HOME/.venv}/bin:$PATH"

# Nobody talks to Ray without the token, which file_mounts brought here.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"

# Ray's three servers of figures (one a node, the autoscaler's, the dashboard's) ask for no token and
# listen on all interfaces: the first is switched off, the others get a port that cannot be opened.
export RAY_enable_metrics_collection=0
export AUTOSCALER_METRIC_PORT=-1
export DASHBOARD_METRIC_PORT=-1

# Nothing leaves the cluster.
export RAY_USAGE_STATS_ENABLED=0
# Ray would tell its makers even that it must not report.
export RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true HF_HUB_DISABLE_TELEMETRY=1

# Databases, locks and the cache lie on the node's own disk, wherever --root is.
export STUDY_STATE="${STUDY_STATE:-$HOME/study-state}"

# A file of your own, shipped with the project and in no repository: STUDY_ROOT, AWS_ENDPOINT_URL, …
if [ -f "$STUDY_HOME/cluster/local.sh" ]; then
  . "$STUDY_HOME/cluster/local.sh"
fi
