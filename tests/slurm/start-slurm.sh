#!/usr/bin/env bash
# Start a private SLURM of one node with two fake GPUs, for tests. Needs no root where SLURM and munge are installed.
#
# Everything but those packages lives in the folder $SLURM_LAB, and every port is bound to 127.0.0.1. Prints the path of
# a file to source: `. $SLURM_LAB/env.sh`. stop-slurm.sh ends what was started here.
#
#   SLURM_LAB       folder; its path must be under 90 characters, because it holds Unix sockets
#   SLURM_LAB_PORT  first of two free TCP ports
#
# Exit status 77: SLURM is not there and cannot be installed.
set -euo pipefail

LAB=${SLURM_LAB:?} PORT=${SLURM_LAB_PORT:-16817}
GPUS=2 CPUS=6 MEMORY=64000 # as many as the profile asks for, whatever the machine has: no job is confined to them
HERE=$(dirname "$(readlink -f "$0")") ME=$(id -un) HOST=$(hostname -s)
export PATH=$PATH:/usr/sbin:/sbin
for v in ${!SLURM_@}; do # this may run inside a job of another cluster
    case $v in SLURM_LAB*) ;; *) unset "$v" ;; esac
done

say() { printf 'start-slurm: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
cannot() { say "$*"; exit 77; }

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { tail -n 20 "$LAB"/log/*.log >&2 || true; die "timed out waiting for $what"; }
        sleep 0.1
    done
}

# start NAME COMMAND...: output to files and input closed, or who captures ours would wait for the daemon to end
start() {
    local name=$1
    shift
    "$@" </dev/null >>"$LAB/log/$name.out" 2>&1 || { tail -n 20 "$LAB/log/$name.out" >&2; die "$name did not start"; }
}

mkdir -p "$LAB"/{etc,run,log,state,spool,bin,dev}
chmod 755 "$LAB" "$LAB/run" "$LAB/etc"

### Packages
if ! { command -v slurmctld && command -v slurmd && command -v srun && command -v munged; } >/dev/null; then
    command -v apt-get >/dev/null || cannot "SLURM is not installed, and there is no apt-get to install it with"
    [ "$(id -u)" = 0 ] || cannot "SLURM is not installed (apt-get install slurm-wlm munge), and only root could"
    say "installing slurm-wlm and munge"
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install -y --no-install-recommends slurm-wlm munge; }
    { install || { apt-get update && install; }; } >"$LAB/log/apt.log" 2>&1 ||
        cannot "SLURM could not be installed: $(tail -n 1 "$LAB/log/apt.log")"
fi

for p in "$PORT" "$((PORT + 1))"; do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || die "port $p is in use; set SLURM_LAB_PORT"
done
trap 'SLURM_LAB=$LAB "$HERE/stop-slurm.sh"' EXIT # nothing half running should anything below fail

### Configuration
(umask 077 && head -c 1024 /dev/urandom >"$LAB/etc/munge.key")

# Only a character device (File=) makes SLURM tell GPUs apart and set CUDA_VISIBLE_DEVICES; a link to one will do.
for ((i = 0; i < GPUS; i++)); do ln -sfn /dev/null "$LAB/dev/fakegpu$i"; done
cat >"$LAB/etc/gres.conf" <<CONF
AutoDetect=off
NodeName=$HOST Name=gpu Type=fake File=$LAB/dev/fakegpu[0-$((GPUS - 1))]
CONF

# When each job step began and ended, and with which GPU: the tests read it. A batch script is no step.
cat >"$LAB/bin/record" <<RECORD
#!/bin/sh
[ -n "\$SLURM_STEP_ID" ] || exit 0
echo "\${0##*/} \$(date +%s.%N) \$SLURM_JOB_ID \${CUDA_VISIBLE_DEVICES-none}" >>"$LAB/log/tasks"
RECORD
chmod 755 "$LAB/bin/record"
ln -sfn record "$LAB/bin/begin"
ln -sfn record "$LAB/bin/end"

cat >"$LAB/etc/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=$ME
SlurmdUser=$ME
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$LAB/run/munge.sock
CredType=cred/munge
StateSaveLocation=$LAB/state
SlurmdSpoolDir=$LAB/spool
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/slurmd.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
TaskProlog=$LAB/bin/begin
TaskEpilog=$LAB/bin/end
# no cgroups, no systemd, no affinity, no accounting
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
PlugStackConfig=$LAB/etc/plugstack.conf
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# more CPUs and memory than there may be
SlurmdParameters=config_overrides
ReturnToService=2
# --gpus needs cons_tres
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
KillWait=2
CompleteWait=0
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY Gres=gpu:fake:$GPUS State=UNKNOWN
PartitionName=lab Nodes=$HOST Default=YES State=UP
CONF
: >"$LAB/etc/plugstack.conf"

# Snakemake drops every SLURM_* variable, SLURM_CONF too, before it calls srun inside a job.
cat >"$LAB/bin/srun" <<WRAP
#!/bin/sh
SLURM_CONF=\${SLURM_CONF:-$LAB/etc/slurm.conf}
export SLURM_CONF
exec $(command -v srun) "\$@"
WRAP
chmod 755 "$LAB/bin/srun"

cat >"$LAB/env.sh" <<ENV
export SLURM_CONF=$LAB/etc/slurm.conf
export PATH=$LAB/bin:\$PATH
ENV
export SLURM_CONF=$LAB/etc/slurm.conf

### Daemons
start munged munged --socket="$LAB/run/munge.sock" --key-file="$LAB/etc/munge.key" \
    --pid-file="$LAB/run/munged.pid" --log-file="$LAB/log/munged.log" \
    --seed-file="$LAB/run/munged.seed" --num-threads=2
wait_for 10 munged munge -n -S "$LAB/run/munge.sock"
start slurmctld slurmctld -c
wait_for 60 slurmctld scontrol ping
start slurmd slurmd -N "$HOST"
idle() { [ "$(sinfo -h -n "$HOST" -o %T | head -n1)" = idle ]; }
wait_for 60 "node $HOST to be idle" idle
wait_for 30 "a first job to run" timeout 10 srun -Q -n1 -t1 --mem=10 true
trap - EXIT
say "ready in ${SECONDS} s: $(sinfo -h -o '%N, %T, %c CPUs, %m MB, %G')"
echo "$LAB/env.sh"
