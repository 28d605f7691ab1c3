"""pairs.py: what the scripts of this folder share: a peer and innerloop run in turn on the same machine, a pair at a time,
so that whatever disturbs one disturbs the other; medians, the ratio of every pair, and how much of the machine others used.
Python 3.9, standard library only."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys


def arguments(description, **more):
    """The parser of options every script has; more: the default of --mixer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--innerloop", default="build/innerloop", help="the command (default build/innerloop)")
    parser.add_argument("--preset", default="125m")
    parser.add_argument("--mixer", default=more.get("mixer", "ttt_linear"), help="ours (default %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (default 5)")
    return parser


def cpu_name():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else os.uname().machine


def commit(directory):
    """The commit a source tree stands at, or what its folder is called."""
    run = subprocess.run(["git", "-C", directory, "log", "-1", "--format=%h %cs"], capture_output=True, text=True)
    top = subprocess.run(["git", "-C", directory, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    own = run.returncode == 0 and os.path.realpath(top.stdout.strip()) == os.path.realpath(directory)
    return run.stdout.strip() if own else os.path.basename(os.path.realpath(directory))


def machine_seconds():
    """CPU seconds that the whole machine has been busy or stolen."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds(workers):
    """CPU seconds of this process, of what it has waited for, and of its running workers."""
    seconds = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        seconds += usage.ru_utime + usage.ru_stime
    for worker in workers:
        with open(f"/proc/{worker.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


class Worker:
    """A peer that stays loaded: a script which answers each line with one JSON object."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        self.about = self.read()

    def read(self):
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"the peer ended with status {self.process.wait()}")

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(about, answer):
    """The other side of Worker."""
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def ours(args, work, context, *more):
    """One repetition of `innerloop bench` after its warm-up: tokens/s, and the peak of its memory."""
    model = getattr(args, "model", None)
    which = ["--model", model] if model else ["--preset", args.preset, "--mixer", args.mixer]
    command = [args.innerloop, "bench", *which, "--work", work, "--context", str(context), "--threads", str(args.threads),
               "--repeat", "1", "--json", *map(str, more)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: status {status}")
    return {"tokens_per_s": json.loads(text)["rows"][-1]["tokens_per_s"], "peak_mb": usage.ru_maxrss / 1024}


def compare(args, row, ours_once, peer_once, workers=()):
    """Prints one JSON row. ours_once, peer_once: give {"tokens_per_s": …, "peak_mb": …} of one run; they take turns at being
    first."""
    runs, before, own, start = [], machine_seconds(), own_seconds(workers), os.times().elapsed
    for i in range(args.pairs):
        first = (ours_once(), peer_once()) if i % 2 == 0 else (peer_once(), ours_once())[::-1]
        runs.append(first)
    wall = os.times().elapsed - start
    others = (machine_seconds() - before) - (own_seconds(workers) - own)
    ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in runs]
    out = {"cpu": cpu_name(), "threads": args.threads, "preset": args.preset, "mixer": args.mixer, **row, "pairs": args.pairs}
    for name, which in (("ours", 0), ("theirs", 1)):
        rates = sorted(pair[which]["tokens_per_s"] for pair in runs)
        out[name] = {"tokens_per_s": statistics.median(rates), "least": rates[0], "most": rates[-1],
                     "peak_mb": max(pair[which].get("peak_mb", 0) for pair in runs) or None}
    out.update(ratio=statistics.median(ratios), ratio_least=min(ratios), ratio_most=max(ratios),
               others_cpus=round(max(0.0, others) / wall, 2))  # CPUs that other processes kept busy meanwhile
    print(json.dumps(out), flush=True)
