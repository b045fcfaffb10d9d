"""Each alarm over the metrics of a failure goes off, and over an ordinary day, the first day and one long full run it doesn't.

The alarms are those of the transformed template, evaluated as CloudWatch does (`alarms.py`). What is injected is written in the metrics
that the functions and AWS would send; that the functions send them, and which, end-to-end tests and `shared/telemetry` show. The result is
the table in `infra/docs/alarms.md`; `python test_alarms.py write` writes it (Python of `target/local/venv-cloud`).
"""

import random
import sys
import unittest
from dataclasses import dataclass

import test_template
from alarms import ALARM, ARRIVES_AFTER, INSUFFICIENT, OK, Alarm, Samples, evaluated, reduced
from test_template import TEMPLATE, text, transformed
from samtranslator.yaml_helper import yaml_parse

PAGE = TEMPLATE.parent / "infra/docs/alarms.md"
HEAD = "| alarm | tells | what fails | goes off after | over after |"
DAY = 24 * 60
GATE = ("validate", "undo", "cancel", "reinstate")
QUEUES = ("OrdersQueue", "OrdersBulkQueue", "TicketsQueue", "RunsQueue")
WORKERS = ("RunWorkerFunction", "OrderWorkerFunction", "TicketsFunction", "DeadLettersFunction")
DOORS = ("WebhookFunction", "OrderSyncFunction", "FullSyncFunction", "SyncStatusFunction", "GateFunction", "WebsocketFunction",
         "AuthorizerFunction", "DashboardFunction")
# A failure begins here, in the middle of a period as failures do.
BEGINS = 6 * 60 + 7


class World(Samples):
    """Samples in the words of the template: functions, queues and routes by their names in it."""

    def own(self, metric: str, minute: int, value: float, **dimensions) -> None:
        # With further dimensions also without them (`shared/telemetry`).
        self.add("ghl-sync", metric, {"LocationId": "${LocationId}"}, minute, value)
        if dimensions:
            self.add("ghl-sync", metric, {"LocationId": "${LocationId}", **dimensions}, minute, value)

    def function(self, metric: str, name: str, minute: int, value: float) -> None:
        self.add("AWS/Lambda", metric, {"FunctionName": "${%s}" % name}, minute, value)

    def queue(self, metric: str, name: str, minute: int, value: float) -> None:
        self.add("AWS/SQS", metric, {"QueueName": "${%s.QueueName}" % name}, minute, value)

    def route(self, metric: str, minute: int, value: float, path: str = "/") -> None:
        """Of the whole API, and with detailed metrics of the route."""
        api = {"ApiId": "${HttpApi}"}
        self.add("AWS/ApiGateway", metric, api, minute, value)
        self.add("AWS/ApiGateway", metric, {**api, "Stage": "$default", "Method": "POST", "Resource": path}, minute, value)

    def invoked(self, name: str, minute: int, errors: float = 0) -> None:
        self.function("Errors", name, minute, errors)
        self.function("Throttles", name, minute, 0)

    def asked(self, minute: int, ms: float, failed: bool = False, path: str = "/") -> None:
        self.route("Count", minute, 1, path)
        self.route("5xx", minute, float(failed), path)
        self.route("Latency", minute, ms, path)


def scan(action: str = "validate") -> str:
    return "/api/qrapp/tickets/{id}/%s" % action


def watched(world: World, minute: int, since_sync: float, since_full: float) -> None:
    world.own("HoursSinceSync", minute, since_sync)
    world.own("HoursSinceFullSync", minute, since_full)


def ordinary(minutes: int, watch=True) -> World:
    """Sales by day, an event with scans in the evening, a run every quarter of an hour, a full one at 3:17."""
    world, chance = World(), random.Random(1)
    synced, full = 0, -20 * 60
    for minute in range(minutes):
        of_day = minute % DAY
        if minute % 15 == 2:
            synced = minute
            for name in ("RunWorkerFunction", "OrderWorkerFunction", "TicketsFunction"):
                world.invoked(name, minute)
            world.own("RunSeconds", minute, 14, Kind="incremental", State="Completed")
            world.own("GhlCalls", minute, 9, Status="200")
            # The token lacks the scope of transactions, which runs do without.
            world.own("GhlCalls", minute, 1, Status="403")
            world.own("GhlDailyRemaining", minute, 200_000 - 100 * of_day)
        if of_day == 3 * 60 + 50:
            full = minute
            world.own("RunSeconds", minute, 1900, Kind="full", State="Completed")
        if watch and minute % 5 == 0:
            watched(world, minute, (minute - synced) / 60, (minute - full) / 60)
        for name in QUEUES:
            # Only an active queue has an age; one order in a thousand waits for GHL, for ten minutes.
            age = 590 if chance.random() < 0.001 else chance.random() * 20
            world.queue("ApproximateAgeOfOldestMessage", name, minute, age)
            world.own("OldestMessageSeconds", minute, age, Queue="${%s.QueueName}" % name)
        for metric in ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"):
            world.queue(metric, "DeadLetterQueue", minute, 0)
        if 8 * 60 < of_day < 23 * 60 and minute % 3 == 0:
            # A sale: webhook, worker, page.
            for name in ("WebhookFunction", "OrderWorkerFunction", "TicketsFunction", "AuthorizerFunction", "SyncStatusFunction"):
                world.invoked(name, minute)
            world.asked(minute, 60)
            world.own("WebhooksAccepted", minute, 1)
        if 18 * 60 < of_day < 21 * 60:
            for _ in range(12):
                world.asked(minute, 80 if chance.random() < 0.98 else 1400, path=scan())
            world.invoked("GateFunction", minute)
            world.invoked("AuthorizerFunction", minute)
    # What goes wrong on any day and nobody needs to hear of: a scan that failed once, a stranger's webhooks, a call that GHL slowed
    # down, a crash that the next delivery made good, a dead letter that was recorded within a minute.
    world.asked(19 * 60, 4100, failed=True, path=scan())
    for minute in (200, 900, 903):
        world.own("WebhooksRefused", minute, 1, Reason="unverified")
    world.own("GhlThrottled", 700, 1)
    world.own("GhlCalls", 700, 1, Status="429")
    world.function("Errors", "TicketsFunction", 800, 1)
    return world


def first_day() -> World:
    """The stack is made, somebody configures it for an hour, then one full run of nine hours reads everything."""
    world = World()
    for minute in range(3, DAY, 5):
        running = 60 <= minute < 600
        since = 0 if running else (minute - (3 if minute < 60 else 600)) / 60
        # After it incremental runs complete; before it schedules' runs would, but there is nothing to sync.
        watched(world, minute, min(since, 0.3) if minute >= 600 else since, since)
        world.invoked("RunWorkerFunction", minute)
    return world


def one_long_run() -> World:
    """A day and a half of one full run: every scheduled start is skipped, and no run completes."""
    world = ordinary(36 * 60, watch=False)
    for minute in range(0, 36 * 60, 5):
        watched(world, minute, 0, 0)
        world.invoked("RunWorkerFunction", minute)
        world.own("GhlCalls", minute, 2900, Status="200")
        world.own("GhlDailyRemaining", minute, 200_000 - 110 * (minute % DAY))
    return world


@dataclass
class Failure:
    alarm: str
    # In the words of the table.
    what: str
    # What it adds to an ordinary day, minute by minute from BEGINS on.
    inject: object
    # How long it lasts.
    minutes: int = 60
    # Which samples of an ordinary day it takes away.
    silences: tuple = ()


def errors(functions, at_once: float):
    def inject(world, minute):
        for name in functions:
            world.invoked(name, minute, at_once)
    return inject


def own(metric: str, value: float, every: int = 1, **dimensions):
    def inject(world, minute):
        if minute % every == 0:
            world.own(metric, minute, value, **dimensions)
    return inject


def letter_that_cannot_be_recorded(world: World, minute: int) -> None:
    # Three minutes in hand, then for a moment visible: whichever the minute's sample sees.
    in_hand = minute % 3 != 0
    world.queue("ApproximateNumberOfMessagesNotVisible", "DeadLetterQueue", minute, float(in_hand))
    world.queue("ApproximateNumberOfMessagesVisible", "DeadLetterQueue", minute, float(not in_hand))


def scans(ms: float, failed: float):
    def inject(world, minute):
        for n in range(10):
            world.asked(minute, ms, failed=n < failed * 10, path=scan())
    return inject


def since(sync: float, full: float):
    """Hours since the runs when it begins, which go on counting."""
    def inject(world, minute):
        if minute % 5 == 0:
            watched(world, minute, sync + (minute - BEGINS) / 60, full + (minute - BEGINS) / 60)
    return inject


FAILURES = [
    Failure("failures-recorded", "an order is given up", lambda world, minute: world.own("FailuresRecorded", minute, 1), 1),
    Failure("oldest-message", "`orders` isn't read any more",
            lambda world, minute: world.queue("ApproximateAgeOfOldestMessage", "OrdersQueue", minute, (minute - BEGINS) * 60)),
    Failure("oldest-message", "the database is away: a message is sent again and again",
            lambda world, minute: world.own("OldestMessageSeconds", minute, (minute - BEGINS) * 60, Queue="${TicketsQueue.QueueName}")),
    Failure("dead-letters", "one letter can't be recorded, with its reader attached", letter_that_cannot_be_recorded),
    Failure("dead-letters", "letters aren't read any more",
            lambda world, minute: world.queue("ApproximateNumberOfMessagesVisible", "DeadLetterQueue", minute, 3)),
    Failure("worker-errors", "`tickets` fails twice a minute, and no other worker runs", errors(["TicketsFunction"], 2), silences=("AWS/Lambda",)),
    Failure("door-errors", "the authorizer crashes twice a minute", errors(["AuthorizerFunction"], 2), silences=("AWS/Lambda",)),
    Failure("door-throttles", "the account has no execution left for a webhook",
            lambda world, minute: world.function("Throttles", "WebhookFunction", minute, 1), 1),
    Failure("recursion", "Lambda stops a run's pulse",
            lambda world, minute: world.function("RecursiveInvocationsDropped", "RunWorkerFunction", minute, 1), 1),
    Failure("error-rate", "a tenth of ten requests a minute gets 5xx",
            lambda world, minute: [world.asked(minute, 50, failed=n == 0, path="/api/qrapp/runs") for n in range(10)]),
    Failure("gate-errors", "the database is away: every scan gets 503", scans(4000, 1.0)),
    Failure("gate-errors", "a fifth of the scans fails", scans(80, 0.2)),
    Failure("gate-latency", "the database is slow: scans take 3.5 s", scans(3500, 0)),
    Failure("no-sync", "every run fails, the last that completed was an hour ago", since(1, 5), 180, ("HoursSinceSync",)),
    Failure("no-sync", "the watch is silent: no schedule, or no database", lambda world, minute: None, 180, ("HoursSinceSync",)),
    Failure("no-full-sync", "full runs fail since 29 hours", since(0, 29), 180, ("HoursSinceFullSync",)),
    Failure("ghl-unauthorized", "GHL refuses the token: each run ends at its first list", own("GhlTokenRefused", 1, 15)),
    Failure("ghl-throttled", "GHL answers 429 once a minute", own("GhlThrottled", 1)),
    Failure("daily-budget", "9,000 calls are left", own("GhlDailyRemaining", 9000, 5)),
    Failure("signature-failures", "a webhook a minute has a wrong signature", own("WebhooksRefused", 1, Reason="unverified")),
    Failure("webhooks-unavailable", "a webhook can't be queued", own("WebhooksRefused", 1, Reason="unavailable"), 1),
]


def alarms() -> dict:
    parameters = yaml_parse(TEMPLATE.read_text())["Parameters"]

    def resolve(value):
        """A parameter's default; else the name in the template, as the samples have it."""
        named = value.get("Ref") if isinstance(value, dict) else None
        if "Default" in parameters.get(named, {}):
            return parameters[named]["Default"]
        return value if isinstance(value, (int, float)) else text(value)

    found = {}
    for resource in transformed()["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            name = resource["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
            found[name] = Alarm(name, resource["Properties"], resolve)
    return found


def told(alarm: Alarm, samples: Samples, minutes: int) -> list:
    """[(minute, state)] of what somebody is told. That all is well at first is told before anybody has confirmed an address."""
    history = alarm.history(samples, minutes)
    if history and history[0][1] == OK:
        history = history[1:]
    return [(minute, state) for minute, state in history if alarm.told(state)]


def with_failure(failure: Failure) -> Samples:
    world = ordinary(12 * 60)
    lasts = range(BEGINS, BEGINS + failure.minutes)
    for (namespace, metric, _), samples in world.of.items():
        if {namespace, metric} & set(failure.silences):
            samples[:] = [(minute, value) for minute, value in samples if minute not in lasts]
    for minute in lasts:
        failure.inject(world, minute)
    return world


def row(alarm: Alarm, failure: Failure) -> str:
    history = told(alarm, with_failure(failure), 12 * 60)
    period = alarm.period()
    (off, state), *rest = history or [(None, None)]
    assert state in (ALARM, INSUFFICIENT) and off > BEGINS, f"{failure.alarm} stays silent: {failure.what}: {history}"
    assert [state for _, state in rest] == [OK], f"{failure.alarm} doesn't end: {failure.what}: {history}"
    periods = -(-(off - BEGINS - ARRIVES_AFTER) // period)
    (topic,) = alarm.told(state)
    whom = {"AlarmTopic": "at once", "NoticeTopic": "by day"}[topic]
    silent = " (no data)" if state == INSUFFICIENT else ""
    after = f"{off - BEGINS} min, in period {periods} of {period} min{silent}"
    return f"| `{failure.alarm}` | {whom} | {failure.what} | {after} | {rest[0][0] - BEGINS - failure.minutes} min |"


def table() -> str:
    known = alarms()
    rows = [row(known[failure.alarm], failure) for failure in FAILURES]
    return "\n".join([HEAD, "|---|---|---|---|---|", *rows])


class Alarms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.alarms = alarms()

    def assert_quiet(self, samples: Samples, minutes: int):
        for name, alarm in self.alarms.items():
            self.assertEqual(told(alarm, samples, minutes), [], name)

    def test_an_ordinary_day_is_quiet(self):
        self.assert_quiet(ordinary(2 * DAY), 2 * DAY)

    def test_the_first_day_is_quiet(self):
        self.assert_quiet(first_day(), DAY)

    def test_a_stack_that_nothing_reaches_yet_is_quiet(self):
        self.assert_quiet(World(), DAY)

    def test_one_long_full_run_is_quiet(self):
        self.assert_quiet(one_long_run(), 36 * 60)

    def test_an_ordinary_day_has_samples_of_what_alarms_look_at(self):
        # Else its quiet would show nothing. What only a failure sends has none.
        only_failures = {"failures-recorded", "recursion", "webhooks-unavailable", "ghl-unauthorized"}
        day = ordinary(DAY)
        for name, alarm in self.alarms.items():
            seen = [key for key, _, _ in alarm.stats().values() if key in day.of]
            self.assertEqual(bool(seen), name not in only_failures, name)

    def test_what_is_injected_is_what_functions_and_aws_send(self):
        rules = test_template.Alarms()
        rules.setUpClass()
        for samples in [ordinary(DAY), first_day(), one_long_run(), *map(with_failure, FAILURES)]:
            for namespace, metric, dimensions in samples.of:
                # Requests in general go to no route in particular.
                if ("Resource", "/") not in dimensions and ("Resource", "/api/qrapp/runs") not in dimensions:
                    rules.check("injected", namespace, metric, dict(dimensions))

    def test_each_alarm_has_a_failure_that_it_tells_and_the_page_has_the_table(self):
        self.assertEqual({failure.alarm for failure in FAILURES}, set(self.alarms))
        made = table()
        print(f"\n{made}", file=sys.stderr)
        self.assertTrue(made in PAGE.read_text(), "infra/docs/alarms.md has another table: python test_alarms.py write")


class Evaluator(unittest.TestCase):
    """The rows of the guide's tables: oldest data point first, X too much, - missing. Three of three must be too much."""

    def judged(self, points: str, missing: str, state: str = "before") -> str:
        properties = {"Threshold": 0, "EvaluationPeriods": 3, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": missing}
        alarm = Alarm("of the guide", properties, lambda value: value)
        return alarm.judged([float(point == "X") for point in points if point != "-"], state)

    def test_missing_data(self):
        for points, of_missing, of_ignore, of_breaching, of_not_breaching in [
            ("0-X-X", OK, OK, OK, OK),
            ("----0", OK, OK, OK, OK),
            ("-----", INSUFFICIENT, "before", ALARM, OK),
            ("0XX-X", ALARM, ALARM, ALARM, ALARM),
            ("--X--", ALARM, "before", ALARM, OK),
        ]:
            expected = {"missing": of_missing, "ignore": of_ignore, "breaching": of_breaching, "notBreaching": of_not_breaching}
            for missing, state in expected.items():
                self.assertEqual(self.judged(points, missing), state, f"{points} {missing}")

    def test_samples_are_there_two_minutes_late(self):
        def history(expression: str, period: int) -> list:
            """Of an alarm over one failure in each of the minutes 20 to 29."""
            stat = {"Stat": "Sum", "Period": period * 60, "Metric": {"Namespace": "guide", "MetricName": "failed"}}
            metrics = [{"Id": "all", "Expression": expression}, {"Id": "m", "ReturnData": False, "MetricStat": stat}]
            properties = {"Threshold": 0, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"}
            samples = Samples()
            for minute in range(20, 30):
                samples.add("guide", "failed", {}, minute, 1)
            return Alarm("of the guide", {**properties, "Metrics": metrics}, lambda value: value).history(samples, 60)

        self.assertEqual(history("SUM([m])", 1), [(1, OK), (23, ALARM), (33, OK)])
        self.assertEqual(history("SUM([m])", 5), [(7, OK), (27, ALARM), (47, OK)])
        # What is made of the newest minutes by FILL hides what has arrived.
        self.assertEqual(history("SUM([FILL(m, 0)])", 1), [(1, OK)])

    def test_statistics(self):
        values = [float(n) for n in range(200, 0, -1)]
        for statistic, expected in {"p99": 198, "p50": 100, "Maximum": 200, "Minimum": 1, "Sum": 20100, "SampleCount": 200}.items():
            self.assertEqual(reduced(statistic, values), expected, statistic)
        self.assertEqual(reduced("p99", [7.0]), 7)

    def test_expressions(self):

        series = {"a": {0: 2.0, 2: 4.0}, "b": {}, "failed": {0: 5.0}, "asked": {0: 50.0}}
        seen = range(3)
        self.assertEqual(evaluated("FILL(a, 0)", series, seen), {0: 2, 1: 0, 2: 4})
        # Nothing is made of a metric without any sample, and a sum of terms is lost with it; a sum of a list isn't.
        self.assertEqual(evaluated("FILL(a, 0) + FILL(b, 0)", series, seen), {})
        self.assertEqual(evaluated("SUM([FILL(a, 0), FILL(b, 0)])", series, seen), {0: 2, 1: 0, 2: 4})
        self.assertEqual(evaluated("MAX([a, b])", series, seen), {0: 2, 2: 4})
        self.assertEqual(evaluated("IF(failed >= 5, 100 * failed / asked, 0)", series, seen), {0: 10})


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        before, _, after = PAGE.read_text().partition(HEAD)
        _, _, after = after.partition("\n\n")
        PAGE.write_text(before + table() + "\n\n" + after)
    else:
        unittest.main()
