"""What CloudWatch makes of an alarm: its state, minute by minute, over samples of its metrics.

Reads alarms as the transformed template has them: statistic, period, expression, evaluation periods, datapoints to alarm, comparison,
what missing data means. The rules are those of CloudWatch's guide ("Configuring how CloudWatch alarms treat missing data", "Using math
expressions"). Where it leaves something open, the worse is taken: an alarm looks two periods further back than it evaluates, as in
the guide's examples; FILL makes nothing of a metric that has no sample at all; and samples are there two minutes late.
"""

import ast
import math
import operator
from dataclasses import dataclass, field

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
# Which actions a change to a state takes.
ACTIONS = {OK: "OKActions", ALARM: "AlarmActions", INSUFFICIENT: "InsufficientDataActions"}
LOOKS_FURTHER_BACK = 2
# Minutes from the end of a minute until its samples are there.
ARRIVES_AFTER = 2

COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class Samples:
    """What is sent to CloudWatch: (minute, value) by metric."""

    def __init__(self):
        self.of = {}

    @staticmethod
    def key(namespace: str, metric: str, dimensions: dict) -> tuple:
        return namespace, metric, frozenset(dimensions.items())

    def add(self, namespace: str, metric: str, dimensions: dict, minute: int, value: float) -> None:
        self.of.setdefault(self.key(namespace, metric, dimensions), []).append((minute, value))

    def by_minute(self, key: tuple) -> dict:
        minutes = {}
        for minute, value in self.of.get(key, []):
            minutes.setdefault(minute, []).append(value)
        return minutes


def by_period(minutes: dict, statistic: str, period: int, periods: int, end: int, now: int) -> dict:
    """The statistic by the number of the period, of so many minutes: -1 is the one until `end`. Of the samples that are there by now."""
    found = {}
    for number in range(-periods, 0):
        begins = end + number * period
        there = range(begins, min(begins + period, now - ARRIVES_AFTER))
        if values := [value for minute in there for value in minutes.get(minute, ())]:
            found[number] = reduced(statistic, values)
    return found


def reduced(statistic: str, values: list) -> float:
    if statistic.startswith("p"):
        rank = math.ceil(float(statistic[1:]) / 100 * len(values))
        return sorted(values)[max(rank, 1) - 1]
    return {"Sum": sum, "Maximum": max, "Minimum": min, "SampleCount": len}[statistic](values)


@dataclass
class Alarm:
    name: str
    properties: dict
    # What a parameter or a resource stands for.
    resolve: object
    threshold: float = field(init=False)
    evaluated: int = field(init=False)
    to_alarm: int = field(init=False)
    missing: str = field(init=False)

    def __post_init__(self):
        self.threshold = float(self.resolve(self.properties["Threshold"]))
        self.evaluated = int(self.resolve(self.properties["EvaluationPeriods"]))
        self.to_alarm = int(self.properties.get("DatapointsToAlarm", self.evaluated))
        self.missing = self.properties.get("TreatMissingData", "missing")

    def stats(self) -> dict:
        """{id: (key, statistic, period in seconds)} of what it reads."""
        of = self.properties
        if "MetricName" in of:
            return {"m": (self.metric(of), of["Statistic"], of["Period"])}
        stats = {m["Id"]: m["MetricStat"] for m in of["Metrics"] if "MetricStat" in m}
        return {name: (self.metric(stat["Metric"]), stat["Stat"], stat["Period"]) for name, stat in stats.items()}

    def metric(self, of: dict) -> tuple:
        dimensions = {d["Name"]: self.resolve(d["Value"]) for d in of.get("Dimensions", [])}
        return Samples.key(of["Namespace"], of["MetricName"], dimensions)

    def expression(self) -> str:
        (shown,) = [m["Expression"] for m in self.properties.get("Metrics", []) if m.get("ReturnData", True)] or ["m"]
        return shown

    def period(self) -> int:
        """In minutes."""
        (seconds,) = {period for _, _, period in self.stats().values()}
        assert seconds % 60 == 0, "counted in minutes"
        return seconds // 60

    def told(self, state: str) -> list:
        """Whom a change to this state is told."""
        return [topic["Ref"] for topic in self.properties.get(ACTIONS[state], [])]

    def history(self, samples: Samples, minutes: int) -> list:
        """[(minute, state)] of each change, from its creation at minute 0."""
        period, periods = self.period(), self.evaluated + LOOKS_FURTHER_BACK
        stats = {name: (samples.by_minute(key), statistic) for name, (key, statistic, _) in self.stats().items()}
        state, changes = INSUFFICIENT, []
        # Minute by minute, newest samples aren't there. A longer period is judged once all of it is.
        late = 0 if period == 1 else ARRIVES_AFTER
        for end in range(period, minutes + 1 - late, period):
            now = end + late
            series = {name: by_period(of, statistic, period, periods, end, now) for name, (of, statistic) in stats.items()}
            values = evaluated(self.expression(), series, range(-periods, 0))
            after = self.judged([values[at] for at in sorted(values)], state)
            if after != state:
                changes.append((now, after))
                state = after
        return changes

    def judged(self, real: list, state: str) -> str:
        """The state after these data points, oldest first; `state` before."""
        compare = COMPARISONS[self.properties["ComparisonOperator"]]
        breaching = [compare(value, self.threshold) for value in real]
        lacking = self.evaluated - len(breaching)
        if lacking <= 0:
            breaching = breaching[-self.evaluated :]
        elif self.missing in ("breaching", "notBreaching"):
            breaching += [self.missing == "breaching"] * lacking
        elif not breaching:
            return INSUFFICIENT if self.missing == "missing" else state
        elif self.missing == "missing" and all(breaching):
            # `- - X - -` in the guide's table.
            return ALARM
        if sum(breaching) >= self.to_alarm:
            return ALARM
        # What is missing could still have been too much.
        undecided = sum(breaching) + max(0, self.evaluated - len(breaching)) >= self.to_alarm
        return state if undecided else OK


def evaluated(expression: str, series: dict, seen: range) -> dict:
    """The expression's value in each of the periods that has one."""
    # The syntax is that of Python, but for capitals.
    tree = ast.parse(expression, mode="eval").body
    values = {at: value_at(tree, series, seen, at) for at in seen}
    return {at: value for at, value in values.items() if value is not None}


BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
COMPARED = {ast.GtE: operator.ge, ast.Gt: operator.gt, ast.LtE: operator.le, ast.Lt: operator.lt}


def value_at(tree: ast.AST, series: dict, seen: range, at: int):
    """The value in one period; None if there is none."""
    value = lambda part: value_at(part, series, seen, at)
    match tree:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            return series[name].get(at)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            above, below = value(left), value(right)
            return above / below if above is not None and below else None
        case ast.BinOp(left=left, op=op, right=right):
            left, right = value(left), value(right)
            return None if None in (left, right) else BINARY[type(op)](left, right)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            left, right = value(left), value(right)
            return None if None in (left, right) else float(COMPARED[type(op)](left, right))
        case ast.Call(func=ast.Name(id="FILL"), args=[ast.Name(id=name) as metric, filling]):
            there = any(point in series[name] for point in seen)
            found = value(metric)
            return value(filling) if found is None and there else found
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            holds = value(condition)
            return None if holds is None else value(then if holds else otherwise)
        case ast.Call(func=ast.Name(id=("SUM" | "MAX") as function), args=[ast.List(elts=parts)]):
            found = [one for one in map(value, parts) if one is not None]
            return None if not found else (sum if function == "SUM" else max)(found)
    raise AssertionError(f"not understood in an alarm's expression: {ast.unparse(tree)}")
