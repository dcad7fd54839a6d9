#!/usr/bin/env bash
# End the SLURM that start-slurm.sh started in the folder $SLURM_LAB: its jobs, then its daemons one by one, by the pids
# that they wrote and only where such a pid still is the program that wrote it. Harmless when nothing runs.
set -uo pipefail

LAB=${SLURM_LAB:?}
export SLURM_CONF=$LAB/etc/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

# is PID PROGRAM: PID is a running PROGRAM (zombies have no exe)
is() {
    local exe
    exe=$(readlink "/proc/$1/exe" 2>/dev/null) || return 1
    case ${exe##*/} in "$2"*) return 0 ;; *) return 1 ;; esac
}

# end NAME: SIGTERM, up to 10 s of patience, SIGKILL. Watches the process, not its pid file, which slurmd removes first.
end() {
    local pid i
    pid=$(cat "$LAB/run/$1.pid" 2>/dev/null)
    if [ -n "$pid" ] && is "$pid" "$1"; then
        kill "$pid" 2>/dev/null
        for ((i = 0; i < 100; i++)); do
            is "$pid" "$1" || break
            sleep 0.1
        done
        ! is "$pid" "$1" || kill -9 "$pid" 2>/dev/null
    fi
    rm -f "$LAB/run/$1.pid"
}

# jobs first, or their slurmstepd processes outlive slurmd
if is "$(cat "$LAB/run/slurmctld.pid" 2>/dev/null)" slurmctld && timeout 5 squeue -h >/dev/null 2>&1; then
    timeout 5 squeue -h -o %A 2>/dev/null | sort -u | xargs -r timeout 10 scancel 2>/dev/null
    for ((i = 0; i < 100; i++)); do
        [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
        sleep 0.1
    done
fi
for d in slurmd slurmctld munged; do end "$d"; done

# what a crash may have left: daemons of steps and processes of jobs, known by the environment that slurmd gave them
for p in /proc/[0-9]*; do
    pid=${p#/proc/}
    [ "$pid" != $$ ] && [ "$pid" != "$PPID" ] || continue
    grep -qzxF "SLURM_CONF=$SLURM_CONF" "$p/environ" 2>/dev/null || continue
    if is "$pid" slurmstepd || is "$pid" slurmd || grep -qzxF SLURM_CLUSTER_NAME=lab "$p/environ" 2>/dev/null; then
        kill -9 "$pid" 2>/dev/null
    fi
done
exit 0
