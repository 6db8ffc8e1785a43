"""Medians of the figures on standard input, and the bar of each. Exit code 1 when one is missed."""
import collections
import statistics
import sys

rounds = collections.defaultdict(list)
for line in sys.stdin:
    server, what, value = line.split()
    rounds[server, what].append(float(value))
median = {key: statistics.median(values) for key, values in rounds.items()}
missed = False


def row(text, value, bar, holds):
    global missed
    missed |= not holds
    print(f"{'holds ' if holds else 'FAILED'} {text:58} {value:>9,.0f}   bar {bar}")


for server in ("knot", "nsd"):
    if (server, "hit") in median:
        figures = {what: median[server, what] for what in ("hit", "mix", "p50", "p99", "resident")}
        print(f"       {server}: " + ", ".join(f"{what} {value:,.0f}" for what, value in figures.items()))
print(f"       weft: p99 at 5,000 a second {median['weft', 'p99']:,.0f} us")
hit = median["weft", "hit"]
row("names of the cluster, queries a CPU second", hit, "200,000", hit >= 200_000)
if ("knot", "hit") in median:
    knot = median["knot", "hit"]
    row("  the same beside Knot", hit, f"{knot:,.0f}", hit >= knot)
mix = median["weft", "mix"]
row("one hit to three search-list denials", mix, f"{hit:,.0f} less 2 %", mix >= hit * 0.98)
row("forwarded names, kept", median["weft", "forward"], "150,000", median["weft", "forward"] >= 150_000)
if ("nsd", "p50") in median:
    nsd = median["nsd", "p50"]
    row("us, half of the answers at 5,000 a second", median["weft", "p50"], f"{nsd:,.0f} (NSD)", median["weft", "p50"] <= nsd)
for feed, what in (("", "in the benchmark"), ("-manifests", "weft dns --manifests"), ("-server", "weft dns beside an API server")):
    if ("weft", "first" + feed) not in median:
        continue
    print(f"       {what}, 10,000 Services and 30,000 endpoints:")
    for figure, text, bar in (
        ("resident", "MB resident", 40), ("peak", "MB resident at most", 40), ("first", "ms from start to the first answer", 200)
    ):
        value = median["weft", figure + feed]
        row("  " + text, value, str(bar), 0 < value <= bar)
row("us from a change to its answer, 99 of 100", median["weft", "fresh"], "5,000", median["weft", "fresh"] <= 5_000)
sys.exit(1 if missed else 0)
