#!/usr/bin/env bash
# PostgreSQL for Optuna's rows and MLflow's server over it, on the head of a cluster.
#
#   cluster/servers.sh start     start both (again): nothing happens to what runs
#   cluster/servers.sh env       what to export, so that `run`, `status` and `track` use them
#   cluster/servers.sh status    exit 0 where both answer
#   cluster/servers.sh stop      end both; their data stay
#
# Both listen on 127.0.0.1 alone: reach MLflow through a tunnel (docs/cluster.md). The password is
# made here, lies in files that only their owner reads, and is in no command line and no URL.
# STUDY_STATE says where data lie, STUDY_POSTGRES_PORT and STUDY_MLFLOW_PORT where they listen.
set -euo pipefail
umask 077

state=${STUDY_STATE:-$HOME/study-state}/servers
port=${STUDY_POSTGRES_PORT:-5433}
page=${STUDY_MLFLOW_PORT:-5000}
user=study
data=$state/postgres
export PGPASSFILE=$state/pgpass
python=${STUDY_VENV:-$(cd "$(dirname "$0")/.." && pwd)/.venv}/bin/python

fail() {
  echo "servers.sh: $*" >&2
  exit 2
}

postgres_programs() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -n 1)
  [ -n "$found" ] || found=$(dirname "$(command -v initdb || true)")
  [ -x "$found/initdb" ] || fail "no PostgreSQL server here; Debian, Ubuntu: apt-get install postgresql"
  echo "$found"
}

# PostgreSQL refuses to run as root: there it is the user of its package that owns the data.
as_owner() {
  if [ "$(id -u)" = 0 ]; then
    runuser -u postgres -- "$@"
  else
    "$@"
  fi
}

make_database() {
  local secret=$state/password
  head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$secret"
  printf '127.0.0.1:%s:*:%s:%s\n' "$port" "$user" "$(cat "$secret")" > "$PGPASSFILE"
  mkdir -p "$data"
  cp "$secret" "$data.password"
  if [ "$(id -u)" = 0 ]; then
    chmod 711 "$state" "${STUDY_STATE:-$HOME/study-state}"
    chown postgres "$data" "$data.password"
  fi
  as_owner "$bin/initdb" --pgdata "$data" --auth scram-sha-256 --username "$user" \
    --pwfile "$data.password" --encoding UTF8 > "$state/initdb.log"
  rm -f "$data.password" "$secret"
}

start_postgres() {
  [ -f "$data/PG_VERSION" ] || make_database
  if as_owner "$bin/pg_ctl" status -D "$data" > /dev/null 2>&1; then return; fi
  as_owner "$bin/pg_ctl" start -w -D "$data" -l "$data/server.log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=" > /dev/null
  for name in optuna mlflow; do
    "$bin/psql" --host 127.0.0.1 --port "$port" --username "$user" --dbname postgres --quiet \
      --tuples-only --command "SELECT 1 FROM pg_database WHERE datname = '$name'" | grep -q 1 ||
      "$bin/createdb" --host 127.0.0.1 --port "$port" --username "$user" "$name"
  done
}

mlflow_answers() {
  "$python" - "$page" << 'PYTHON'
import sys, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    direct.open(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=2)
except OSError:
    sys.exit(1)
PYTHON
}

start_mlflow() {
  if mlflow_answers; then return; fi
  # The Host check is on: another name than these, as a page elsewhere would send it, is refused.
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true \
    MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://$user@127.0.0.1:$port/mlflow" \
    setsid nohup "$python" -m mlflow server --host 127.0.0.1 --port "$page" --workers 1 \
    --allowed-hosts "127.0.0.1:$page,localhost:$page" \
    --artifacts-destination "file://$state/mlartifacts" \
    > "$state/mlflow.log" 2>&1 < /dev/null &
  echo $! > "$state/mlflow.pid"
  for _ in $(seq 300); do
    if mlflow_answers; then return; fi
    kill -0 "$(cat "$state/mlflow.pid")" 2> /dev/null || break
    sleep 0.5
  done
  tail -n 5 "$state/mlflow.log" >&2
  fail "MLflow's server did not start; all of it is in $state/mlflow.log"
}

stop_all() {
  if [ -f "$state/mlflow.pid" ]; then
    # the whole session: the server has a child that must end with it
    kill -TERM -- "-$(cat "$state/mlflow.pid")" 2> /dev/null || true
    rm -f "$state/mlflow.pid"
  fi
  if [ -f "$data/PG_VERSION" ]; then
    as_owner "$bin/pg_ctl" stop -w -m fast -D "$data" > /dev/null 2>&1 || true
  fi
}

case ${1:-} in
  start)
    bin=$(postgres_programs)
    mkdir -p "$state"
    start_postgres
    start_mlflow
    echo "Optuna: PostgreSQL on 127.0.0.1:$port; MLflow: http://127.0.0.1:$page"
    ;;
  env)
    echo "export PGPASSFILE='$PGPASSFILE'"
    echo "export STUDY_STORAGE='postgresql+psycopg://$user@127.0.0.1:$port/optuna'"
    echo "export STUDY_TRACKING_URI='http://127.0.0.1:$page'"
    ;;
  status)
    bin=$(postgres_programs)
    "$bin/pg_isready" --host 127.0.0.1 --port "$port"
    mlflow_answers && echo "127.0.0.1:$page - MLflow answers"
    ;;
  stop)
    bin=$(postgres_programs)
    stop_all
    ;;
  *)
    fail "one of start, env, status, stop (found ${1:-nothing})"
    ;;
esac
