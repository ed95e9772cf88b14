#!/bin/sh
# A PD and three stores without data, from examples/raft_config.json, until Ctrl-C: `make cluster`. $1 is the program.
#
# Each process has a session of its own: Ctrl-C reaches this script alone, which asks each process to end once. Should the
# script itself be killed, the system asks them (setpriv). A process that somebody else kills stays down.
set -u

pd_lite=$1
config=examples/raft_config.json
pids=
scratch=$(mktemp -d) || exit 1

# ask <signal>: sends it to each process.
ask() {
	for pid in $pids; do kill -s "$1" "$pid" 2>/dev/null; done
}

# stop <exit code>: no process and no file is left behind. A second Ctrl-C ends what hangs; a frozen process hears no other.
stop() {
	trap 'ask KILL' INT TERM HUP
	ask TERM
	for pid in $pids; do
		# A signal ends a wait early; 127 says that the process is gone.
		while kill -s 0 "$pid" 2>/dev/null; do
			wait "$pid"
			test $? = 127 && break
		done
	done
	rm -rf "$scratch"
	exit "$1"
}
trap 'echo; stop 0' INT TERM HUP

# start <argument>...: returns once the process listens; without that its own line has said why.
start() {
	rm -f "$scratch/lines"
	mkfifo "$scratch/lines" || stop 1
	setsid setpriv --pdeathsig TERM "$pd_lite" "$@" --config "$config" >"$scratch/lines" </dev/null &
	pid=$!
	pids="$pid $pids"
	while read -r line; do
		case $line in *" listening on "*) return ;; esac
	done <"$scratch/lines"
	wait "$pid"
	stop $?
}

for tool in setsid setpriv; do
	command -v $tool >/dev/null || { echo "pd-lite: missing: $tool (Debian: util-linux)" >&2; stop 1; }
done
beginning="In the beginning store 1 leads all six regions, and every 3 s
it is asked to give one away, until each store leads two: see the lines below."
if test -e artifacts/cluster/store-1/STORE_LEADS.json; then
	beginning="They go on from
./artifacts/cluster; remove it, and leaders are uneven again in the beginning."
fi

start pd
pd=$pid
for store in 1 2 3; do
	start serve --store-id $store --log-level info
done

program=${pd_lite#"$PWD/"}
cat <<END

A PD (process $pd) and three stores without data run; Ctrl-C stops them. $beginning
To try in another terminal:

  $program ctl store list         # what each store leads
  $program ctl region get hello   # which stores have a key; the leader comes first
  kill -9 $pd                                  # the PD is gone, the stores go on
  $program pd --config $config   # it is back, and so are the routes
  kill -9 $pid                                  # the same with store 3
  $program serve --config $config --store-id 3

END
wait
echo "All processes have ended."
stop 0
