#!/usr/bin/env bash
# Runs a command inside a Slurm cluster of its own: this machine as one node with four CPUs and two fake GPUs, partitions `main` and `high`
# (which preempts main), accounting. The cluster ends with the command, whose exit status is passed on.
#   tests/clusters/slurm.sh COMMAND...                a shell, say: tests/clusters/slurm.sh bash
#   ACCOUNTING=0 tests/clusters/slurm.sh COMMAND...   without sacct, as some small clusters are
# Everything lives in a temporary folder and on ports of its own, so a Slurm that is already here is left alone. What is missing comes from
# apt-get; without root, or where there is neither, one line says so and nothing runs.
set -euo pipefail
export PATH=$PATH:/usr/sbin

skip() {
  echo "skipped: $1"
  exit 0
}
[ "$(id -u)" = 0 ] || skip "a Slurm with devices for GPUs takes root"
packages=(slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins slurmdbd mariadb-server)
if ! type munged slurmctld slurmd slurmdbd mariadbd >/dev/null 2>&1; then
  type apt-get >/dev/null 2>&1 || skip "no Slurm here, and no apt-get to install it (${packages[*]})"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

home=$(mktemp -d /tmp/ablation-slurm.XXXXXX)
export SLURM_CONF=$home/slurm.conf
host=$(hostname -s)
daemons=()

stop() {
  scancel --quiet --user=root 2>/dev/null || true
  (await 30 idle) 2>/dev/null || true
  for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do # in the reverse of their order: each flushes to the one before it
    kill "${daemons[i]}" 2>/dev/null || true
    wait "${daemons[i]}" 2>/dev/null || true
  done
  rm -rf "$home"
}
trap stop EXIT

start() { # start NAME COMMAND...: in the background, its output in $home/NAME.log
  local name=$1
  shift
  "$@" >"$home/$name.log" 2>&1 &
  daemons+=($!)
}

await() { # await SECONDS COMMAND...
  local last=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$last" ]; then
      echo "error: no answer from: $*" >&2
      tail -n 5 "$home"/*.log >&2
      exit 1
    fi
    sleep 0.2
  done
}

idle() { [ "$(sinfo --noheader --format=%T | sort -u)" = idle ]; }

for gpu in 0 1; do # Slurm sets CUDA_VISIBLE_DEVICES for character devices only; these lead to /dev/null
  mknod "$home/gpu$gpu" c 1 3
  echo "Name=gpu File=$home/gpu$gpu" >>"$home/gres.conf"
done
echo CgroupPlugin=cgroup/v1 >"$home/cgroup.conf" # or slurmd looks for a cgroup/v2 that containers lack
cat >"$home/slurm.conf" <<END
ClusterName=ablation
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
# cred_expire is also how long a requeued job waits; its default is two minutes.
AuthInfo=socket=$home/munge.socket,cred_expire=5
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
GresTypes=gpu
# More CPUs than the machine may have, so that every machine is the same cluster.
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:2
PartitionName=main Nodes=$host Default=YES PriorityTier=1 GraceTime=1
PartitionName=high Nodes=$host PriorityTier=2 PreemptMode=OFF
END
if [ "${ACCOUNTING:-1}" = 1 ]; then
  cat >>"$home/slurm.conf" <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass=$home/munge.socket
AccountingStoragePort=26819
END
  (umask 077 && cat >"$home/slurmdbd.conf") <<END
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=26819
SlurmUser=root
AuthInfo=socket=$home/munge.socket
PidFile=$home/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=26820
StorageUser=root
END
fi

(umask 077 && dd if=/dev/urandom of="$home/munge.key" bs=1024 count=1 status=none)
start munged munged --foreground --force --key-file="$home/munge.key" --socket="$home/munge.socket" \
  --pid-file="$home/munge.pid" --log-file="$home/munge.log" --seed-file="$home/munge.seed"
await 10 munge --no-input --socket="$home/munge.socket"
if [ "${ACCOUNTING:-1}" = 1 ]; then
  mariadb-install-db --no-defaults --user=root --datadir="$home/mysql" --auth-root-authentication-method=normal --skip-test-db >"$home/mariadb-install.log" 2>&1
  start mariadbd mariadbd --no-defaults --user=root --datadir="$home/mysql" --socket="$home/mysql.socket" --bind-address=127.0.0.1 --port=26820
  await 30 mariadb-admin --no-defaults --socket="$home/mysql.socket" ping
  start slurmdbd slurmdbd -D
  await 30 sacctmgr --noheader list cluster
fi
start slurmctld slurmctld -D
start slurmd slurmd -D
await 30 idle

"$@"
