"""The scenarios of scripts/pressure: which programs run together, under which limit, for how long."""

import dataclasses
import random

MB = 1_000_000


@dataclasses.dataclass
class Player:
    """One process of a scenario: a program of bench/pressure and its options."""

    program: str
    options: dict
    measured: bool = True  # its memory and time count; the filler of the page cache's do not

    def command(self, programs, extra):
        words = [str(programs / f"bench-{self.program}")]
        for name, value in (self.options | extra).items():
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return words


@dataclasses.dataclass
class Scenario:
    name: str
    group: str
    question: str
    seconds: float
    players: list
    limit: int | None = None  # bytes, for all players together: then it runs in a box
    budget: int | None = None  # bytes that may be live in all players together
    fits: bool = True  # live memory fits under the limit: a kill is the allocator's doing
    only: tuple = ()  # the allocators it is about; empty for all


def curve(name, question, shape, seconds, scale, **options):
    settings = {"shape": shape, "seconds": seconds * scale} | options
    for key in ("period", "late"):
        if key in settings:
            settings[key] *= scale
    if "speed" in settings:
        settings["speed"] /= scale
    return Scenario(name, "curve", question, seconds * scale, [Player("demand", settings)])


def curves(scale):
    return [
        curve("steady", "always the same", "steady", 60, scale, high=250),
        curve("square_20", "ten seconds high, ten seconds low: gaps that are worth a release", "square", 60, scale, period=20),
        curve("square_4", "two seconds high, two seconds low: gaps that hardly are", "square", 60, scale, period=4),
        curve("spike_5", "five seconds high once, never again", "spike", 60, scale, period=5),
        curve("saw_10", "ten seconds of growth, then all of it is garbage", "saw", 60, scale, period=10),
        curve("sine_30", "slowly up and down", "sine", 60, scale, period=30),
        curve("ramp", "steady, then twenty seconds of growth, then steady", "ramp", 60, scale),
        curve("random_walk", "no pattern at all", "random_walk", 60, scale, speed=20),
        curve("bursts", "requests that come when they like", "bursts", 60, scale, speed=5),
        curve("mixture", "several rhythms at once", "mixture", 60, scale, speed=5),
    ]


def antiphase(name, question, scale, seconds=45, **options):
    """The pair of which one needs what the other has just freed."""
    pair = [Player("demand", {"shape": "square", "seconds": seconds * scale, "period": 16 * scale, "phase": phase,
                              "low": 100, "high": 400} | options) for phase in (0.5, 0)]
    return Scenario(name, "limit", question, seconds * scale, pair, limit=620 * MB, budget=500 * MB)


def limits(scale):
    """Growth that ends where the limit is met."""
    leak = Player("demand", {"shape": "leak", "seconds": 60 * scale, "low": 100, "high": 520, "watch": True})
    ramp = Player("demand", {"shape": "ramp", "seconds": 60 * scale, "low": 100, "high": 450})
    server = Player("cache", {"seconds": 40 * scale, "period": 8 * scale, "low": 60, "high": 180, "cache": 500})
    return [
        antiphase("antiphase", "each 400 MB for 8 s, never more than 500 MB in all; one rises half a second after the other fell",
                  scale, late=0.5 * scale),
        antiphase("antiphase_sudden", "the same; one rises as soon as the other has called free", scale),
        Scenario("leak_to_limit", "limit", "live memory itself grows beyond the limit: how much of it can be used?",
                 60 * scale, [leak], limit=500 * MB, fits=False),
        Scenario("ramp_to_limit", "limit", "live memory grows to 87 % of the limit and stays there", 60 * scale, [ramp],
                 limit=520 * MB),
        Scenario("cache", "limit", "a cache that may grow beyond the limit; the program drops from it what it is called back for",
                 40 * scale, [server], limit=400 * MB),
    ]


def throughput(scale):
    """The same work as fast as it goes: with the worker, and with it switched off."""
    own = ("poolmalloc", "poolmalloc+off")
    found = []
    for name, settings in {"steady": {"shape": "steady", "high": 250},
                           "square_4": {"shape": "square", "period": 4 * scale}}.items():
        player = Player("demand", settings | {"seconds": 20 * scale, "closed": True})
        found.append(Scenario(f"throughput_{name}", "throughput", f"units of work in a closed loop on {name}: what does the worker cost?",
                              20 * scale, [player], only=own))
    return found


def overload(number, seed, scale):
    """A random scenario in which live memory fits: what dies, dies of what its allocator holds."""
    dice = random.Random(seed * 1000 + number)
    seconds = 12 * scale
    budget = dice.randint(300, 500)
    players = []
    for i in range(dice.randint(2, 4)):
        shape, settings = dice.choice([
            ("square", {"period": dice.uniform(2, 10) * scale, "phase": dice.uniform(0, 1)}),
            ("saw", {"period": dice.uniform(3, 8) * scale, "phase": dice.uniform(0, 1)}),
            ("spike", {"period": dice.uniform(1, 4) * scale}),
            ("bursts", {"speed": dice.uniform(5, 15) / scale}),
            ("random_walk", {"speed": dice.uniform(20, 60) / scale}),
            ("mixture", {"speed": dice.uniform(5, 20) / scale}),
        ])
        players.append(Player("demand", {
            "shape": shape, "seconds": seconds, "low": round(budget * dice.uniform(0.04, 0.12)),
            "high": round(budget * dice.uniform(0.4, 0.8)), "retained": round(dice.uniform(0, 0.08), 3),
            "large": round(dice.uniform(0.01, 0.08), 3), "seed": number * 10 + i} | settings))
    described = ", ".join(player.options["shape"] for player in players)
    if dice.random() < 0.5:
        players.append(Player("files", {"seconds": seconds, "mebibytes": dice.randint(50, 600),
                                        "rate": dice.randint(100, 400)}, measured=False))
        described += ", page cache"
    limit = round(budget * dice.uniform(1.22, 1.5)) + 5 * len(players)
    return Scenario(f"overload_{number:02}", "overload", f"{described}; {budget} MB live in {limit} MB", seconds, players,
                    limit=limit * MB, budget=budget * MB)


def everything(seed, scale, overloads):
    return (limits(scale) + curves(scale) + throughput(scale) +
            [overload(number, seed, scale) for number in range(1, overloads + 1)])


def smoke():
    """Seconds, and limits so wide that nothing has to be clever: does it run, is it measured?"""
    small = {"seconds": 1, "period": 0.5, "low": 4, "high": 16}
    pair = [Player("demand", {"shape": "square", "phase": phase} | small) for phase in (0.5, 0)]
    files = Player("files", {"seconds": 1, "mebibytes": 8}, measured=False)
    greedy = Player("demand", {"shape": "leak", "seconds": 3, "low": 4, "high": 100})
    cache = Player("cache", {"seconds": 1, "period": 0.5, "low": 2, "high": 4, "cache": 8, "keys": 2000})
    return [Scenario("square", "curve", "up and down", 1, pair[:1]),
            Scenario("mixture", "curve", "a family of curves", 1, [Player("demand", {"shape": "mixture", "speed": 100} | small)]),
            Scenario("antiphase", "limit", "a pair and a filler of the page cache in a box", 1, pair + [files],
                     limit=256 * MB, budget=20 * MB),
            Scenario("cache", "limit", "a cache that fits", 1, [cache], limit=128 * MB),
            Scenario("leak", "limit", "live memory beyond the limit: must be killed", 3, [greedy], limit=40 * MB, fits=False)]
