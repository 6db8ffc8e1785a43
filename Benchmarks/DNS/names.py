"""names.py FOLDER COUNT: a zone file and the queries of the benchmark, the same every time."""
import random
import sys

folder, count = sys.argv[1], int(sys.argv[2])
random.seed(1)
with open(f"{folder}/zone", "w") as zone:
    zone.write("$ORIGIN cluster.local.\n$TTL 30\n@ SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ NS ns.dns\nns.dns A 10.43.0.10\n")
    for n in range(count):
        zone.write(f"svc-{n}.ns-{n % 10}.svc A 10.43.{n // 250 % 250}.{n % 250 + 1}\n")
names = [f"svc-{n}.ns-{n % 10}" for n in random.sample(range(count), count)]
with open(f"{folder}/forward", "w") as forward:
    for name in names[:5000]:
        forward.write(f"{name}.svc.other.test A\n")
with open(f"{folder}/hit", "w") as hit, open(f"{folder}/mix", "w") as mix:
    for name in names:
        hit.write(f"{name}.svc.cluster.local A\n")
        # What a resolver with a search path asks before an outside name, and one name that is there.
        for tail in ("ns-3.svc.cluster.local", "svc.cluster.local", "cluster.local"):
            mix.write(f"www.example-{random.randrange(1000)}.com.{tail} A\n")
        mix.write(f"{name}.svc.cluster.local A\n")
