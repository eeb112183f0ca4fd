"""The manners of the house, kept by a ratchet: who may know whom, who may look at the clock, what is in the docs."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, get_args

import pytest
from msgspec import Struct

from marketd.actors import account, buyer, order, product, webhook
from marketd.actors.watch import AwaitChange, AwaitOutcome
from marketd.bus.gate import LookAgain
from marketd.bus.guests import ListIntegrators
from marketd.clock import SystemClock
from marketd.config.codecs import AGGREGATES, ANSWERS, MODELS
from marketd.config.fields import FIELDS
from marketd.http.app import make_app
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.enquiries import ListDeliveries, ReadDelivery, ReadStandings, Replay, Resend, SendTest
from marketd.storage.finding import FindRelated, Suggest
from marketd.storage.history import ReadHistory
from marketd.storage.projector import AskReached
from marketd.storage.questions import FindAlike, Renewed, Search, Spell
from marketd.storage.tills import AwaitSale
from marketd.storage.views import CountViews

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "marketd"
MODULE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 60
MATCH_TABLES: Final = {"decide", "evolve"}
# Ratchets: what is longer already may not grow beyond this, and what gets shorter leaves the list.
LONGER: Final = {"actors.order": 624}

AGGREGATE_MODULES: Final = {
    "actors.account",
    "actors.product",
    "actors.order",
    "actors.buyer",
    "actors.webhook",
    "actors.money",
    "actors.preferences",
    "actors.address",
    "actors.aggregate",
    "actors.saga",
    "actors.steps",
}
PURE: Final = {"collections", "dataclasses", "decimal", "enum", "functools", "hashlib", "re", "typing", "__future__"}
READ_MODELS: Final = {
    "storage.cards",
    "storage.catalog",
    "storage.earnings",
    "storage.finding",
    "storage.history",
    "storage.library",
    "storage.orders",
    "storage.people",
    "storage.regulars",
    "storage.reviews",
    "storage.sales",
    "storage.tills",
    "storage.views",
}

CAREFUL: Final = {
    "actors.notices.channels",
    "actors.notices.notifier",
    "actors.notices.postman",
    "actors.notices.rounds",
    "actors.payments.sandbox",
    "actors.payments.stripe",
    "actors.payments.stripe_news",
}

COURIERS: Final = {f"actors.notices.{name}" for name in ("courier", "enquiries", "rounds", "standings")}
COURIERS_KNOW: Final = {"storage.database", "storage.deliveries", "storage.enquiries"}

FOREIGN: Final = {
    "PIL": {"storage.shrinking"},
    "aiosmtplib": {"actors.notices.smtp"},
    "aiosqlite": {"storage.database"},
    "argon2": {"http.passwords"},
    # PyJWT and py_vapid give and take its keys.
    "cryptography": {"actors.notices.push", "http.sealed", "http.tokens"},
    "http_ece": {"actors.notices.push"},
    "jinja2": {"actors.notices.templates", "http.pages.frame"},
    "jwt": {"http.tokens"},
    "bcrypt": {"bus.integrators"},  # whose hashes nats-server can check
    "multidict": {"http.answers", "http.names"},  # the headers that aiohttp takes and gives
    "nats": {"bus.connection", "bus.nats", "bus.jetstream"},
    "opentelemetry": {"otel"},
    "prometheus_client": {"http.exposition"},
    "py_vapid": {"actors.notices.push"},
    "sqlite3": {"storage.database"},
    "stripe": {"actors.payments.stripe"},
    "uvloop": {"command_line"},
    "zstandard": {"http.encodings"},
    "whoosh": {"storage.inverted"},
}
AIOHTTP: Final = {"actors.notices.posting", "config.sample"}  # and the package http
CHANCE: Final = {
    "os.urandom": {"clock"},
    "secrets": {"config.serving", "http.doing", "http.tokens", "storage.files"},
}


# Those that no read model of its own answers.
QUERIES: Final[set[type[Struct]]] = {AskReached, AwaitOutcome, BrowseProducts, FindAlike, FindRelated, ReadHistory}
QUERIES.update([AwaitChange, AwaitSale, CountViews, LookAgain, ReadProduct, Renewed, Search, Spell, Suggest])
QUERIES.update([ListDeliveries, ReadDelivery, Resend, SendTest, Replay, ReadStandings, ListIntegrators])


class Import(NamedTuple):
    """`module` imports `name` from `source`; ours are written without `marketd.`."""

    module: str
    source: str
    name: str
    is_ours: bool


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the package, parsed."""
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module, tree in sources().items() for found in imports_of(module, tree))


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name.removeprefix("marketd."), "", alias.name.startswith("marketd"))
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{module} imports relatively"
            source, is_ours = node.module.removeprefix("marketd."), node.module.split(".")[0] == "marketd"
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if is_ours and inner in sources():
                    yield Import(module, inner, "", is_ours)
                else:
                    yield Import(module, source, alias.name, is_ours)


def breaches(of: Callable[[str], bool], may: Callable[[Import], bool]) -> list[str]:
    """Who of these imports what they may not."""
    return [f"{i.module} imports {i.source}.{i.name}" for i in imports() if i.is_ours and of(i.module) and not may(i)]


def reached_from(module: str) -> set[str]:
    """All modules of ours that importing this one brings in."""
    reached, ahead = set[str](), {module}
    while ahead:
        reached |= ahead
        ahead = {i.source for i in imports() if i.is_ours and i.module in ahead} - reached
    return reached


def within(package: str) -> Callable[[str], bool]:
    return lambda module: module == package or module.startswith(f"{package}.")


def calls(*, of: Callable[[str], bool] = lambda module: True) -> Iterator[tuple[str, str]]:
    """Every module with the dotted name of every call in it."""
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and of(module):
                yield module, ast.unparse(node.func)


# Who may know whom.


def test_the_aggregates_know_each_other_and_nobody_else() -> None:
    def may(i: Import) -> bool:
        return i.source in AGGREGATE_MODULES or (i.module == "actors.saga" and i.source == "actors.notices.port")

    assert [] == breaches(AGGREGATE_MODULES.__contains__, may)


def test_the_aggregates_do_no_io() -> None:
    foreign = {i.source.split(".")[0] for i in imports() if i.module in AGGREGATE_MODULES and not i.is_ours}

    assert set() == foreign - PURE - {"msgspec"}


def test_the_actors_know_the_ports_and_no_adapter() -> None:
    ports = {
        "bus.port",
        "bus.subjects",
        "storage.log",
        "storage.follower",
        "storage.unhurried",
        "clock",
        "deadlines",
        "measures",
        "rests",
        "spans",
        "trace",
        "whole",
    }
    keeping = ("actors.payments.", "actors.notices.sent")

    def may(i: Import) -> bool:
        keeps_a_file = i.module.startswith(keeping) and i.source in {"storage.database", "storage.together"}
        keeps_a_file |= i.module in COURIERS and i.source in COURIERS_KNOW
        is_careful = i.module in CAREFUL and i.source == "bus.breaker"
        return within("actors")(i.source) or i.source in ports or keeps_a_file or is_careful

    assert [] == breaches(within("actors"), may)


def test_the_bus_knows_addresses_refusals_and_the_clock_and_its_public_events_the_log() -> None:
    known = {
        "actors.address",
        "actors.aggregate",
        "children",
        "clock",
        "deadlines",
        "measures",
        "rests",
        "spans",
        "trace",
        "unpacked",
        "whole",
    }
    told = {*AGGREGATE_MODULES, "storage.log"} - {"actors.saga"}  # what the public events are made of

    def may(i: Import) -> bool:
        follows = i.module == "bus.relay" and i.source in {"storage.log", "storage.unhurried"}
        return (
            within("bus")(i.source) or i.source in known or follows or (i.module == "bus.events" and i.source in told)
        )

    assert [] == breaches(within("bus"), may)


def test_the_storage_knows_the_aggregates_and_the_port_of_the_bus() -> None:
    known = {*AGGREGATE_MODULES, "bus.port", "bus.subjects", "clock", "deadlines", "measures", "spans", "trace"}
    known |= {"whole"}
    known -= {"actors.saga"}
    particular = {
        ("storage.finding", "bus.breaker"),
        ("storage.together", "bus.breaker"),
        ("storage.index_process", "children"),
        ("storage.images", "children"),
    }

    def may(i: Import) -> bool:
        return within("storage")(i.source) or i.source in known or (i.module, i.source) in particular

    assert [] == breaches(within("storage"), may)


def test_what_the_index_process_is_made_of_knows_little() -> None:
    """It has to be small: none of these, nor what they know, may bring in the front or an aggregate's house."""
    assert set() == {name for name in reached_from("config.indexing") if name.startswith(("http", "actors.house"))}


def test_the_front_knows_messages_queries_and_the_port_of_the_bus() -> None:
    known = {*AGGREGATE_MODULES, *READ_MODELS, "actors.watch", "bus.port", "bus.subjects", "clock"} - {"actors.saga"}
    known |= {"measures", "spans", "trace", "whole"}
    known |= {"storage.answers", "storage.files", "storage.images", "storage.pages", "actors.notices.tokens"}
    known |= {"storage.enquiries", "actors.notices.addresses", "actors.notices.signing", "bus.guests"}
    names = {
        ("marketd", "__version__"),
        ("storage.projector", "AskReached"),
        ("storage.database", "DiskTrouble"),
        ("bus.breaker", "Circuit"),
        ("bus.events", "DATA"),
    }
    kept = {("storage.log", "Recorded"), ("storage.cards", "touched_by")}  # what makes a kept page old, or a session
    followers = {"http.kept", "http.ended"}
    told = {("bus.events", "DATA"), ("bus.events", "CloudEvent")}  # which a document is made of

    def may(i: Import) -> bool:
        name = (i.source, i.name)
        return (
            within("http")(i.source)
            or i.source in known
            or name in names
            or (i.module in followers and name in kept)
            or (i.module == "http.asyncapi" and name in told)
        )

    assert [] == breaches(within("http"), may)


def test_of_a_read_model_the_front_knows_queries_and_answers_only() -> None:
    taken = {(i.source, i.name) for i in imports() if within("http")(i.module) and i.source in READ_MODELS}
    things = {(source, name, getattr(sys.modules[f"marketd.{source}"], name)) for source, name in taken}
    others = {name for _, name, thing in things if not (isinstance(thing, type) and issubclass(thing, Struct))}

    assert {"Sort", "PREVIEWS", "touched_by"} == others


def test_config_is_known_to_the_command_line_alone() -> None:
    knowing = {i.module for i in imports() if i.is_ours and within("config")(i.source)}

    assert {"__main__", "command_line"} == {module for module in knowing if not within("config")(module)}


def test_the_clock_knows_nobody() -> None:
    assert [] == breaches(within("clock"), lambda i: False)


def test_who_rests_knows_the_clock_alone() -> None:
    assert [] == breaches(within("rests"), lambda i: i.source == "clock")


@pytest.mark.parametrize("module", ["deadlines", "measures", "spans", "whole"])
def test_what_all_may_know_knows_nobody(module: str) -> None:
    assert [] == breaches(within(module), lambda i: False)


def test_where_the_binary_lives_knows_child_processes_alone() -> None:
    assert [] == breaches(within("unpacked"), lambda i: i.source == "children")


def test_who_records_spans_knows_them_alone() -> None:
    assert [] == breaches(within("otel"), lambda i: i.source in {"spans", "marketd"})


def test_the_pulse_knows_the_clock_and_what_is_counted() -> None:
    assert [] == breaches(within("pulse"), lambda i: i.source in {"clock", "measures"})


def test_a_trace_knows_the_clock_alone() -> None:
    assert [] == breaches(within("trace"), lambda i: i.source == "clock")


# Foreign libraries.


@pytest.mark.parametrize("library", sorted(FOREIGN))
def test_a_foreign_library_is_imported_only_where_it_may_be(library: str) -> None:
    assert FOREIGN[library] == {i.module for i in imports() if i.source.split(".")[0] == library}


def test_aiohttp_is_imported_by_the_front_and_by_those_who_ask_others() -> None:
    knowing = {i.module for i in imports() if i.source.split(".")[0] == "aiohttp"}

    assert AIOHTTP == {module for module in knowing if not within("http")(module)}


def test_no_other_foreign_library_has_come_in() -> None:
    foreign = {i.source.split(".")[0] for i in imports() if not i.is_ours} - set(sys.stdlib_module_names)

    assert {*FOREIGN, "aiohttp", "msgspec"} - {"sqlite3"} == foreign


def test_few_modules_call_fsync_and_each_says_why() -> None:
    own = {"storage.files", "storage.archive"}  # uploads and backups: streams of bytes

    assert {"whole", *own} == {module for module, call in calls() if call == "os.fsync"}


# Time and chance.


@pytest.mark.parametrize("library", ["time", "random", "uuid"])
def test_only_the_clock_knows_time_and_chance(library: str) -> None:
    assert {i.module for i in imports() if i.source == library} <= {"clock"}


def test_only_the_clock_looks_at_the_time_or_lets_it_pass() -> None:
    forbidden = {"now", "utcnow", "today", "sleep", "call_later", "call_at"}
    allowed = {("clock", "asyncio.sleep"), ("storage.search", "asyncio.sleep")}  # the latter lets others run: sleep(0)
    allowed |= {("http.server", "asyncio.sleep")}  # so does this
    allowed.add(("deadlines", "loop.call_later"))  # as asyncio.timeout has it, whose place it takes

    found = {(module, call) for module, call in calls() if call.rpartition(".")[2] in forbidden}
    through_the_clock = {(m, c) for m, c in found if "clock.sleep" in c}
    assert allowed == found - through_the_clock


@pytest.mark.parametrize("module", ["http.server", "storage.search"])
def test_who_lets_others_run_lets_no_time_pass(module: str) -> None:
    sleeps = [
        ast.unparse(node)
        for node in ast.walk(sources()[module])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.sleep"
    ]

    assert {"asyncio.sleep(0)"} == set(sleeps)


@pytest.mark.parametrize("source", sorted(CHANCE))
def test_chance_comes_from_few_places(source: str) -> None:
    called = {module for module, call in calls() if call == source or call.startswith(f"{source}.")}

    assert CHANCE[source] == called


# Tasks.


def test_every_task_has_an_owner() -> None:
    bare = {"asyncio.create_task", "asyncio.ensure_future", "create_task", "ensure_future"}
    found = Counter(
        module for module, call in calls() if call in bare or ("loop" in call and call.endswith("create_task"))
    )

    assert Counter() == found


IMPORTING: Final = """
import asyncio, importlib, json, os, pkgutil, sys, threading
import urllib3  # which comes with stripe, and finds out by a socket whether there is IPv6
started = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in ("subprocess.Popen", "socket.connect", "socket.bind", "os.mkdir", "os.fork"):
        started.append(f"{event} {arguments[0]}")
sys.addaudithook(watch)
import marketd
names = [module.name for module in pkgutil.walk_packages(marketd.__path__, "marketd.")]
for name in names:
    importlib.import_module(name)
if asyncio._get_running_loop() is not None or asyncio.get_event_loop_policy()._local._loop is not None:
    started.append("a loop")
started += [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(json.dumps([len(names), started, os.listdir()]))
"""


def test_importing_anything_does_nothing(tmp_path: Path) -> None:
    ours = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-W", "error", "-c", IMPORTING]
    done = subprocess.run(command, cwd=tmp_path, env=ours, capture_output=True, text=True, check=True, timeout=50)

    assert [len(sources()) - 1, [], []] == json.loads(done.stdout)


# Stored and travelling names.


def tags(*unions: object) -> list[str]:
    return [str(kind.__struct_config__.tag) for union in unions for kind in (get_args(union) or (union,))]


def test_no_two_messages_events_states_or_answers_have_the_same_tag() -> None:
    unions = [union for a in AGGREGATES for union in (a.commands, a.events, a.states)]
    queries = QUERIES.union(query for model in MODELS for query in model.answers)

    counted = Counter(tags(*unions, *queries, ANSWERS))
    assert {} == {tag: count for tag, count in counted.items() if count > 1}


def test_every_tag_begins_with_the_kind_of_its_aggregate() -> None:
    answers = {"account": account.Answer, "product": product.Answer, "order": order.Answer, "buyer": buyer.Answer}
    answers["webhook"] = webhook.Answer
    found = {a.kind: tags(a.commands, a.events, a.states, answers[a.kind]) for a in AGGREGATES}

    assert [] == [tag for kind, named in found.items() for tag in named if not tag.startswith(f"{kind}.")]


# The documentation.


@cache
def documentation() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def test_every_route_is_in_the_documentation() -> None:
    routes = make_app(SystemClock(), body_bytes_max=1).router.routes()
    named = [f"{route.method} {route.resource.canonical}" for route in routes if route.resource]

    assert [] == [name for name in named if not name.startswith("HEAD") and name not in documentation()]


def test_every_setting_is_in_the_documentation() -> None:
    assert [] == [key for key in FIELDS if f"`{key}`" not in documentation()]


# Lengths.


def test_no_module_is_longer_than_a_reader_bears() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    allowed = {module: LONGER.get(module, MODULE_LINES_MAX) for module in lines}

    assert {} == {module: count for module, count in lines.items() if count > allowed[module]}


def test_what_became_short_enough_is_on_no_list() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}

    assert [] == [module for module in LONGER if lines[module] <= MODULE_LINES_MAX]


def test_no_function_is_longer_than_a_screen() -> None:
    functions = (
        (f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in MATCH_TABLES
    )

    assert {} == {name: lines for name, lines in functions if lines > FUNCTION_LINES_MAX}
