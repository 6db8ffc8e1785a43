"""What an attachment costs, beside the reference plugins: the same configurations, call by call in turn, on one machine."""
import json, os, shutil, statistics, subprocess, sys, tempfile, threading, time

ours, reference, spawner = sys.argv[1:4]  # weft-cni; folder of the reference plugins or ""; the compiled spawn.c
PODS = int(os.environ.get("PODS", "50"))
prefix = f"weft-bench-{os.getpid()}"
work = tempfile.mkdtemp(prefix="weft-bench-")


def run(*words, check=True):
    subprocess.run(words, check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


class Caller:
    """One process in the node's namespace that starts plugins."""

    def __init__(self, node, path):
        environment = dict(os.environ, CNI_PATH=path)
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{node}", spawner], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        self.output = f"{work}/out-{id(self)}"

    def __call__(self, program, name, verb, container, netns, config):
        print(program, name, verb, container, netns, config, self.output, sep="\t", file=self.process.stdin, flush=True)
        wall, cpu, peak, code = self.process.stdout.readline().split()
        if int(code):
            raise SystemExit(f"{program} {verb} {container}: {open(self.output).read()}")
        return float(wall) / 1000, float(cpu) / 1000, int(peak) / 1024

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Subject:
    def __init__(self, label, folder):
        self.label, self.folder, self.node = label, folder, f"{prefix}-{label}"
        run("ip", "netns", "add", self.node)
        run("ip", "-n", self.node, "link", "set", "lo", "up")
        self.caller = Caller(self.node, folder or "/opt/cni/bin")
        self.figures = {}

    def program(self, name):
        return f"{self.folder}/{name}" if self.folder else ours

    def config(self, network, **more):
        path = f"{work}/{self.label}-{network}-{len(more)}.json"
        ipam = {"type": "host-local", "dataDir": f"{work}/{self.label}", "ranges": [[{"subnet": "10.201.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}]}
        plugin = {"cniVersion": "1.0.0", "name": network, "type": "bridge", "bridge": "cni0", "isGateway": True,
                  "hairpinMode": True, "ipam": ipam, **more}
        json.dump(plugin, open(path, "w"))
        return path

    def note(self, row, cost):
        self.figures.setdefault(row, []).append(cost)


def netns(index):
    return f"/run/netns/{prefix}-p{index}"


def in_turn(subjects, row, step):
    """Each subject once, then again, so that what else the machine does meets both."""
    for index in range(PODS):
        for subject in subjects if index % 2 == 0 else reversed(subjects):
            step(subject, index, lambda name, cost: subject.note(f"{row}{name}", cost))


def one_at_a_time(subject, index, note):
    config, bridge = subject.config("serial"), subject.program("bridge")
    call = lambda verb: subject.caller(bridge, "bridge", verb, f"c{index}", netns(index), config)
    note("ADD", call("ADD")), note("DEL", call("DEL")), note("second DEL", call("DEL"))


def host_ports(subject, index, note):
    bridge = subject.config("ports")
    subject.caller(subject.program("bridge"), "bridge", "ADD", f"c{index}", netns(index), bridge)
    result = json.load(open(subject.caller.output))
    config = f"{work}/{subject.label}-portmap.json"
    json.dump({"cniVersion": "1.0.0", "name": "ports", "type": "portmap", "prevResult": result,
               "runtimeConfig": {"portMappings": [{"hostPort": 20000 + index, "containerPort": 80, "protocol": "tcp"}]}},
              open(config, "w"))
    for verb in ("ADD", "DEL"):
        note(verb, subject.caller(subject.program("portmap"), "portmap", verb, f"c{index}", netns(index), config))
    subject.caller(subject.program("bridge"), "bridge", "DEL", f"c{index}", netns(index), bridge)


def fill(subject, count):
    """As after so many ADDs: a lease file each, in the subject's own form."""
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    folder = f"{work}/{subject.label}/many" + ("" if subject.folder else "/leases")
    os.makedirs(folder)
    for number in range(count):
        address = f"10.201.{number // 200 + 1}.{number % 200 + 1}"
        if subject.folder:
            open(f"{folder}/{address}", "w").write(f"x{number}\r\neth0")
        else:
            lease = {"network": "many", "containerID": f"x{number}", "ifname": "eth0", "bootID": boot,
                     "addresses": [f"{address}/16"], "gateways": ["10.201.0.1"]}
            json.dump(lease, open(f"{folder}/x{number}:eth0", "w"))


def many_leases(subject, index, note):
    config, bridge = subject.config("many"), subject.program("bridge")
    note("ADD", subject.caller(bridge, "bridge", "ADD", f"c{index}", netns(index), config))
    subject.caller(bridge, "bridge", "DEL", f"c{index}", netns(index), config)


def together(subject, verb, count, at_once=8):
    """Wall time of `count` calls, so many at once."""
    config, bridge = subject.config("together"), subject.program("bridge")
    callers = [Caller(subject.node, subject.folder or "/opt/cni/bin") for _ in range(at_once)]
    refusals = []
    start = time.monotonic()

    def work_off(offset):
        try:
            for index in range(offset, count, at_once):
                callers[offset](bridge, "bridge", verb, f"c{index}", netns(index), config)
        except SystemExit as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=work_off, args=(offset,)) for offset in range(at_once)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    subject.note(f"100 {verb}, 8 at once", ((time.monotonic() - start) * 1000, 0, 0))
    [caller.close() for caller in callers]
    if refusals:
        raise refusals[0]


def p50(subject, row, column=0):
    values = [cost[column] for cost in subject.figures.get(row, [])]
    return statistics.median(values) if values else None


PROMISES = [("one at a time: ADD", 0, "ADD p50, ms", 3), ("one at a time: ADD", 1, "ADD CPU, ms", 2),
            ("one at a time: DEL", 0, "DEL p50, ms", 17.5), ("one at a time: DEL", 1, "DEL CPU, ms", 2),
            ("one at a time: second DEL", 0, "second DEL p50, ms", 1.5),
            ("100 ADD, 8 at once", 0, "100 ADD, 8 at once, ms", 300),
            ("100 DEL, 8 at once", 0, "100 DEL, 8 at once, ms", 480),
            ("5,000 leases: ADD", 0, "ADD with 5,000 leases p50, ms", 3),
            ("host port: ADD", 0, "portMappings ADD p50, ms", 4), ("host port: DEL", 0, "portMappings DEL p50, ms", 4),
            ("one at a time: ADD", 2, "peak memory, MiB", 4)]

made = []
subjects = []
try:
    for index in range(100):
        run("ip", "netns", "add", f"{prefix}-p{index}")
        made.append(index)
    subjects = [Subject("weft", None)] + ([Subject("reference", reference)] if reference else [])
    in_turn(subjects, "one at a time: ", one_at_a_time)
    in_turn(subjects, "host port: ", host_ports)
    for subject in subjects:
        fill(subject, 5000)
    in_turn(subjects, "5,000 leases: ", many_leases)
    for _ in range(3):
        for subject in subjects:
            for verb in ("ADD", "DEL"):
                together(subject, verb, 100)
    print(f"{'':32}{'weft-cni':>10}{'reference':>12}{'ratio':>8}{'to reach':>10}")
    failed = False
    for row, column, title, limit in PROMISES:
        mine, theirs = p50(subjects[0], row, column), p50(subjects[-1], row, column) if reference else None
        verdict = "pass" if mine <= limit else "FAIL"
        failed |= mine > limit
        beside = f"{theirs:12.2f}{theirs / mine:7.1f}x" if theirs else f"{'':20}"
        print(f"{title:32}{mine:10.2f}{beside}{limit:>10} {verdict}")
    if not reference:
        print("the reference plugins are not installed: apt-get install containernetworking-plugins")
    sys.exit(1 if failed and os.environ.get("STRICT") else 0)
finally:
    for subject in subjects:
        subject.caller.close()
        run("ip", "netns", "del", subject.node, check=False)
    for index in made:
        run("ip", "netns", "del", f"{prefix}-p{index}", check=False)
    shutil.rmtree(work, ignore_errors=True)
