"""What `template.yaml` allows, as CloudFormation gets it: after SAM's transform. Run by `cargo xtask test sam`.

Roles: one for each function, without wildcards, with what the function is configured for and nothing else. That it also
uses all of it is shown by the suite `traces`, on a local cloud that checks the roles.
"""

import base64
import json
import os
import re
import subprocess
import unittest
from pathlib import Path

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parents[3] / "template.yaml"
PARAMETERS = {"LocationId": "Location1", "SupabaseUrl": "https://project.example.co"}
# Without a session: the page that signs in, and GHL, which signs its bodies.
OPEN_ROUTES = {"GET /", "GET /assets/{proxy+}", "POST /api/ghl/webhook-qr"}
WRITING_LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
# X-Ray has no resource to name.
WRITING_TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# Concurrent executions of a new AWS account.
SMALLEST_ACCOUNT = 10
# What AWS sends, of what alarms and the dashboard look at.
OF_AWS = {
    "AWS/SQS": {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"},
    "AWS/Lambda": {"Errors", "Throttles", "Duration", "RecursiveInvocationsDropped"},
    "AWS/ApiGateway": {"Count", "5xx", "Latency"},
}
OF_A_ROUTE = {"ApiId", "Stage", "Method", "Resource"}
# Values of dimensions that the documentation has no list of: statuses of HTTP, states and kinds of runs, queues.
COUNTED_BY = {"Status", "State", "Kind", "Queue"}
# People wait, or nothing is synced: somebody must get up. The rest is told to whoever looks by day.
AT_NIGHT = {"oldest-message", "dead-letters", "worker-errors", "door-errors", "door-throttles", "recursion", "error-rate", "gate-errors",
            "gate-latency", "no-sync", "ghl-unauthorized", "webhooks-unavailable"}
BY_DAY = {"failures-recorded", "no-full-sync", "ghl-throttled", "daily-budget", "signature-failures"}
# What an HTTP API can log, as its guide lists it ("Customize HTTP API access logs"). AWS leaves anything else empty, or refuses it.
OF_HTTP_LOGS = {
    "accountId", "apiId", "authorizer.error", "authorizer.principalId", "awsEndpointRequestId", "awsEndpointRequestId2",
    "customDomain.basePathMatched", "dataProcessed", "domainName", "domainPrefix", "error.message", "error.messageString",
    "error.responseType", "extendedRequestId", "httpMethod", "integration.error", "integration.integrationStatus", "integration.latency",
    "integration.requestId", "integration.status", "integrationErrorMessage", "integrationLatency", "integrationStatus", "path", "protocol",
    "requestId", "requestTime", "requestTimeEpoch", "responseLatency", "responseLength", "routeKey", "stage", "status",
}
READING_A_QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}


class NoManagedPolicies:
    """There are none to look up: roles are written out."""

    def load(self):
        return {}

    def get_bundled_managed_policy_map(self):
        return {}


def transformed() -> dict:
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    template = yaml_parse(TEMPLATE.read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    return transform(template, dict(PARAMETERS), NoManagedPolicies())


def text(value) -> str:
    """An ARN with what CloudFormation fills in as `${...}`: one word to compare and to search."""
    if isinstance(value, str):
        return value
    (function, argument), = value.items()
    if function == "Ref":
        return "${%s}" % argument
    if function == "Fn::GetAtt":
        return "${%s}" % (".".join(argument) if isinstance(argument, list) else argument)
    if function == "Fn::Sub":
        return text(argument)
    if function == "Fn::If":
        return text(argument[1])
    raise AssertionError(f"an ARN made by {function}: {value}")


def legacy_key(ref: str, role: str) -> str:
    """A key of Supabase's older form, as it issues them, with an invented signature."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"iss": "supabase", "ref": ref, "role": role, "iat": 1700000000, "exp": 2000000000}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (head, claims)] + [b"an invented signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def holds(condition: dict, parameters: dict) -> bool:
    """What CloudFormation makes of a condition on parameters."""
    (function, parts), = condition.items()
    if function == "Fn::Equals":
        one, other = (parameters[part["Ref"]] if isinstance(part, dict) else part for part in parts)
        return one == other
    return {"Fn::Not": lambda results: not results[0], "Fn::Or": any, "Fn::And": all}[function]([holds(part, parameters) for part in parts])


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


class Lint(unittest.TestCase):
    def test_sam_finds_nothing_to_complain_about(self):
        sam = [os.environ["SAM"], "validate", "--lint", "--region", "us-east-1", "--template", str(TEMPLATE)]
        said = subprocess.run(sam, capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)


class Template(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.resources = transformed()["Resources"]
        cls.functions = cls.of_type("AWS::Lambda::Function")
        cls.roles = cls.of_type("AWS::IAM::Role")

    @classmethod
    def of_type(cls, kind: str) -> dict:
        return {name: r["Properties"] for name, r in cls.resources.items() if r["Type"] == kind}

    def grants(self, role: str):
        """What a role allows, as pairs of action and resource."""
        for policy in self.roles[role].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                self.assertEqual(statement["Effect"], "Allow")
                self.assertFalse({"NotAction", "NotResource"} & set(statement), role)
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield action, text(resource)

    def parameter(self, name: str) -> dict:
        return yaml_parse(TEMPLATE.read_text())["Parameters"][name]

    def by_default(self, value):
        """A number, or the default of the parameter that it is."""
        return self.parameter(value["Ref"])["Default"] if isinstance(value, dict) else value

    def role_of(self, function: str) -> str:
        return self.functions[function]["Role"]["Fn::GetAtt"][0]

    def test_each_function_has_a_role_of_its_own(self):
        self.assertEqual(len(self.functions), 12)
        self.assertEqual(len({self.role_of(function) for function in self.functions}), 12)
        for name, role in self.roles.items():
            self.assertFalse(role.get("ManagedPolicyArns"), f"{name}: what a managed policy allows is decided elsewhere")

    def test_no_role_has_a_wildcard(self):
        for role in self.roles:
            for action, resource in self.grants(role):
                self.assertNotIn("*", action, role)
                if action in WRITING_TRACES:
                    continue
                # A connection's id is known only when it connects.
                self.assertNotIn("*", resource.removesuffix("/@connections/*"), f"{role}: {action}")
                self.assertTrue(resource.startswith(("arn:", "${")), f"{role}: {action} on {resource}")

    def test_a_function_may_do_what_it_is_configured_for_and_nothing_else(self):
        for name, function in self.functions.items():
            expected = {(action, "${LogGroup.Arn}") for action in WRITING_LOGS}
            expected |= {(action, "*") for action in WRITING_TRACES}
            variables = function["Environment"]["Variables"]
            for variable, value in variables.items():
                expected |= self.needed_for(name, variable, value)
            for mapping in self.of_type("AWS::Lambda::EventSourceMapping").values():
                if text(mapping["FunctionName"]) == "${%s}" % name:
                    expected |= {(action, text(mapping["EventSourceArn"])) for action in READING_A_QUEUE}
            self.assertEqual(set(self.grants(self.role_of(name))), expected, name)

    def needed_for(self, function: str, variable: str, value) -> set:
        """What a function needs that has this variable."""
        if variable.endswith("_QUEUE_URL"):
            return {("sqs:SendMessage", "${%s.Arn}" % value["Ref"])}
        if variable.endswith("_PARAMETER"):
            account = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}"
            return {("ssm:GetParameter", account + ":parameter" + text(value))}
        if variable == "STATUS_BUCKET":
            # Without ListBucket S3 answers 403 instead of 404 for an object that isn't there yet.
            needed = {("s3:ListBucket", "${StatusBucket.Arn}")}
            needed.add(("s3:GetObject", "${StatusBucket.Arn}/sync_status.json"))
            # It signs addresses by which others read the list.
            if function == "SyncStatusFunction":
                needed.add(("s3:GetObject", "${StatusBucket.Arn}/valid_order_list.json"))
            # Only one publishes.
            if function == "RunWorkerFunction":
                needed |= {("s3:PutObject", "${StatusBucket.Arn}/" + name) for name in ("sync_status.json", "valid_order_list.json")}
            return needed
        if variable == "WEBSOCKET_ENDPOINT":
            account = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}"
            methods = ["POST"] + (["DELETE"] if function == "WebsocketFunction" else [])
            of_method = account + ":${WebSocketApi}/live/%s/@connections/*"
            return {("execute-api:ManageConnections", of_method % method) for method in methods}
        return set()

    def sends_to(self) -> dict:
        """Whom each function's messages can invoke: by a queue, or by the dead-letter queue behind it."""
        behind = {}
        for name, queue in self.of_type("AWS::SQS::Queue").items():
            redrive = queue.get("RedrivePolicy", {}).get("deadLetterTargetArn")
            behind["${%s.Arn}" % name] = text(redrive) if redrive else None
        invokes = {}
        for mapping in self.of_type("AWS::Lambda::EventSourceMapping").values():
            invokes.setdefault(text(mapping["EventSourceArn"]), set()).add(text(mapping["FunctionName"])[2:-1])
        reached = {}
        for function in self.functions:
            reached[function] = set()
            for action, queue in self.grants(self.role_of(function)):
                while action == "sqs:SendMessage" and queue:
                    reached[function] |= invokes.get(queue, set())
                    queue = behind[queue]
        return reached

    def test_lambda_stops_no_function_whose_messages_come_back_to_it(self):
        sends_to = self.sends_to()

        def after(function: str, seen: frozenset = frozenset()) -> set:
            """Whom a chain of messages that starts there can invoke."""
            further = [after(other, seen | {other}) for other in sends_to[function] - seen]
            return sends_to[function].union(*further)

        in_a_loop = {function for function in self.functions if function in after(function)}
        self.assertIn("RunWorkerFunction", in_a_loop)
        allowed = {name for name, function in self.functions.items() if function.get("RecursiveLoop") == "Allow"}
        # Lambda ends a chain at its 17th invocation of a function, unless that function allows it. Elsewhere it protects.
        self.assertEqual(allowed, in_a_loop)

    def test_a_stack_reads_its_own_secrets_only(self):
        named = set()
        for name, function in self.functions.items():
            for variable, value in function["Environment"]["Variables"].items():
                if variable.endswith("_PARAMETER"):
                    secret = variable.removesuffix("_PARAMETER").lower().replace("_", "-")
                    self.assertEqual(text(value), "/ghl-sync/${AWS::StackName}/" + secret, name)
                    named.add(secret)
        self.assertEqual(len(named), 5)
        # Nothing that is given, or forgotten, on a command line leads to another stack's.
        parameters = yaml_parse(TEMPLATE.read_text())["Parameters"]
        self.assertFalse([name for name, parameter in parameters.items() if "/ghl-sync" in str(parameter)])

    def test_no_secret_stands_in_the_template(self):
        # What is public by its nature, or the name of a parameter.
        public = {"WEBHOOK_PUBLIC_KEYS", "SUPABASE_ANON_KEY"}
        for name, function in self.functions.items():
            for variable in function["Environment"]["Variables"]:
                if re.search("KEY|SECRET|TOKEN|PASSWORD", variable) and variable not in public:
                    self.assertTrue(variable.endswith("_PARAMETER"), f"{name}: {variable}")
        outputs = json.dumps(yaml_parse(TEMPLATE.read_text())["Outputs"])
        self.assertNotIn("Parameter", outputs)

    def test_no_secret_is_taken_for_the_public_key(self):
        parameter = yaml_parse(TEMPLATE.read_text())["Parameters"]["SupabaseAnonKey"]
        # CloudFormation holds the pattern against the whole value too.
        taken = re.compile(parameter["AllowedPattern"]).fullmatch
        for ref in ("abcdefghijklmnopqrst", "abcdefghijklmnopqrstu", "abcdefghijklmnopqrstuv"):
            # In base64 a text has one of three looks, by how many bytes stand before it.
            self.assertTrue(taken(legacy_key(ref, "anon")), ref)
            self.assertFalse(taken(legacy_key(ref, "service_role")), ref)
        for key in ("", "sb_publishable_AnInvented-Example_Key"):
            self.assertTrue(taken(key), key)
        for key in ("sb_secret_AnInventedExampleKey", "an-invented-key", "eyJhbGciOiJIUzI1NiJ9", "sb_publishable_", " "):
            self.assertFalse(taken(key), key)
        self.assertIn("everybody", parameter["ConstraintDescription"])

    def test_keys_are_sent_by_https_or_to_this_machine(self):
        for name in ("SupabaseUrl", "GhlApiBaseUrl"):
            parameter = yaml_parse(TEMPLATE.read_text())["Parameters"][name]
            taken = re.compile(parameter["AllowedPattern"]).fullmatch
            for url in ("https://abc.supabase.co", "https://abc.supabase.co/", "http://127.0.0.1:8403", "http://localhost:8403"):
                self.assertTrue(taken(url), url)
            for url in ("http://abc.supabase.co", "http://127.0.0.1.example.co", "http://127.0.0.1:1@example.co", "https://a@b.co",
                        "https://abc.supabase.co/rest/v1", "http://localhost.example.co", "abc.supabase.co", ""):
                self.assertFalse(taken(url), url)
            self.assertIn("https://", parameter["ConstraintDescription"])

    def test_every_route_but_the_open_ones_asks_who_calls(self):
        body = self.resources["HttpApi"]["Properties"]["Body"]
        routes = {
            f"{method.upper()} {path}": operation.get("security")
            for path, operations in body["paths"].items()
            for method, operation in operations.items()
            if method != "options"
        }
        self.assertGreater(len(routes), 15)
        self.assertEqual({route for route, security in routes.items() if security == [{"NONE": []}] or not security},
                         OPEN_ROUTES)
        self.assertNotIn("x-amazon-apigateway-cors", body, "no other origin may call")

    def test_the_doors_are_throttled(self):
        stages = self.of_type("AWS::ApiGatewayV2::Stage")
        self.assertEqual(len(stages), 2)
        for name, stage in stages.items():
            for limits in [stage["DefaultRouteSettings"], *stage.get("RouteSettings", {}).values()]:
                # A route's own settings replace the default's, and the gate's alarms need its metrics.
                self.assertEqual(limits.get("DetailedMetricsEnabled", False), text(stage["ApiId"]) == "${HttpApi}", name)
                for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
                    self.assertIn(self.by_default(limits[limit]), range(1, 1001), name)
        (of_http,) = [stage for stage in stages.values() if text(stage["ApiId"]) == "${HttpApi}"]
        limits = of_http["RouteSettings"]["POST /api/ghl/webhook-qr"]
        # A cold start of 0.3 s: what comes meanwhile runs beside the burst. Lambda's 503 comes at the account's limit.
        at_once = self.by_default(limits["ThrottlingBurstLimit"]) + 0.3 * self.by_default(limits["ThrottlingRateLimit"])
        self.assertLess(at_once, SMALLEST_ACCOUNT)
        # Beside them, warm scans of 0.1 s.
        scans = of_http["RouteSettings"]["POST /api/qrapp/tickets/{id}/validate"]
        scanned = self.by_default(scans["ThrottlingBurstLimit"]) + 0.1 * self.by_default(scans["ThrottlingRateLimit"])
        webhooks = self.by_default(limits["ThrottlingBurstLimit"])
        self.assertLess(webhooks + scanned, SMALLEST_ACCOUNT)

    def test_the_readers_of_all_queues_fit_into_the_smallest_account(self):
        # AWS polls each queue for two executions at least.
        mappings = self.of_type("AWS::Lambda::EventSourceMapping").values()
        most = sum(mapping["ScalingConfig"]["MaximumConcurrency"] for mapping in mappings)
        self.assertLessEqual(max(most, 2 * len(mappings)), SMALLEST_ACCOUNT)

    def test_concurrency_is_reserved_by_request_only(self):
        self.assertEqual(self.parameter("ReservedConcurrency")["Default"], 0)
        self.assertEqual(yaml_parse(TEMPLATE.read_text())["Conditions"]["ReservesConcurrency"],
                         {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, 0]}]})
        asked = {"Fn::If": ["ReservesConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
        reserving = {name: f["ReservedConcurrentExecutions"] for name, f in self.functions.items()
                     if "ReservedConcurrentExecutions" in f}
        self.assertEqual(reserving, dict.fromkeys(("WebhookFunction", "AuthorizerFunction", "GateFunction"), asked))

    def test_the_bucket_is_private_and_encrypted_and_speaks_tls_only(self):
        (name, bucket), = self.of_type("AWS::S3::Bucket").items()
        self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True})
        self.assertTrue(bucket["BucketEncryption"])
        (policy,) = self.of_type("AWS::S3::BucketPolicy").values()
        self.assertEqual(policy["Bucket"], {"Ref": name})
        (statement,) = policy["PolicyDocument"]["Statement"]
        self.assertEqual((statement["Effect"], statement["Principal"], statement["Action"]), ("Deny", "*", "s3:*"))
        self.assertEqual(statement["Condition"], {"Bool": {"aws:SecureTransport": "false"}})

    def test_queues_are_encrypted_and_logs_end(self):
        queues = self.of_type("AWS::SQS::Queue")
        self.assertEqual(len(queues), 5)
        for name, queue in queues.items():
            self.assertTrue(queue["SqsManagedSseEnabled"], name)
        for group in self.of_type("AWS::Logs::LogGroup").values():
            self.assertEqual(group["RetentionInDays"], {"Ref": "LogRetentionDays"})
        for name, function in self.functions.items():
            self.assertEqual(function["LoggingConfig"], {"LogGroup": {"Ref": "LogGroup"}}, name)
            self.assertEqual(function["TracingConfig"], {"Mode": "Active"}, name)


    def test_access_logs_tell_of_no_person(self):
        stages = {text(stage["ApiId"]): stage["AccessLogSettings"] for stage in self.of_type("AWS::ApiGatewayV2::Stage").values()}
        # The WebSocket API's needs a role of the account, which the template never makes.
        (condition, of_socket, otherwise), = [stages["${WebSocketApi}"]["Fn::If"]]
        self.assertEqual((condition, otherwise), ("LogsWebSocket", {"Ref": "AWS::NoValue"}))
        self.assertEqual(self.parameter("WebSocketAccessLogs")["Default"], "false")
        self.assertFalse(self.of_type("AWS::ApiGateway::Account"))
        for log in (stages["${HttpApi}"], of_socket):
            self.assertTrue(text(log["DestinationArn"]).endswith(":log-group:${AccessLogGroup}"))
            line = json.loads(log["Format"])
            self.assertLessEqual({"requestId", "routeKey", "status", "integrationError", "authorizerError"}, set(line))
            for variable in line.values():
                # Paths have ids of people in them, and query strings tickets of the socket.
                self.assertNotRegex(variable, r"(?i)path|query|sourceIp|userAgent|claims|identity|domain", variable)
        of_http = set(json.loads(stages["${HttpApi}"]["Format"]).values())
        self.assertLessEqual({variable.removeprefix("$context.") for variable in of_http}, OF_HTTP_LOGS)
        self.assertLessEqual({"$context.authorizer.error", "$context.integrationErrorMessage"}, of_http)
        group = self.resources["AccessLogGroup"]["Properties"]
        self.assertEqual(text(group["LogGroupName"]), "/aws/vendedlogs/${AWS::StackName}")

    def test_no_deployment_fails_on_a_warning(self):
        # SAM itself writes what API Gateway warns of, such as a server without a URL.
        apis = self.of_type("AWS::ApiGatewayV2::Api")
        self.assertEqual(set(apis), {"HttpApi", "WebSocketApi"})
        for name, api in apis.items():
            self.assertIn(api.get("FailOnWarnings", False), (False, "false"), name)

    def test_a_domain_has_a_certificate_and_takes_no_old_tls(self):
        (rule,) = yaml_parse(TEMPLATE.read_text())["Rules"].values()
        (asserted,) = rule["Assertions"]
        for http, websocket, certificate, taken in [
            ("", "", "", True), ("a.example.com", "", "", False), ("", "b.example.com", "", False),
            ("a.example.com", "b.example.com", "arn", True), ("", "", "arn", True),
        ]:
            given = {"HttpDomain": http, "WebSocketDomain": websocket, "CertificateArn": certificate}
            self.assertEqual(not holds(rule["RuleCondition"], given) or holds(asserted["Assert"], given), taken, given)
        names = self.of_type("AWS::ApiGatewayV2::DomainName")
        self.assertEqual(len(names), 2)
        for name, domain in names.items():
            (configuration,) = domain["DomainNameConfigurations"]
            self.assertEqual((configuration["SecurityPolicy"], configuration["EndpointType"]), ("TLS_1_2", "REGIONAL"), name)

    def test_a_domain_is_the_only_address_where_there_is_one(self):
        for api, default in (("Http", "HttpApiApiGatewayDefaultStage"), ("WebSocket", "WebSocketApiliveStage")):
            condition = f"Has{api}Domain"
            for resource in (f"{api}DomainName", f"{api}Mapping"):
                self.assertEqual(self.resources[resource]["Condition"], condition)
            mapping = self.resources[f"{api}Mapping"]["Properties"]
            self.assertEqual((mapping["ApiId"], mapping["Stage"]), ({"Ref": f"{api}Api"}, {"Ref": default}))
            self.assertEqual(self.parameter(f"{api}Domain")["Default"], "")
        (server,) = self.resources["HttpApi"]["Properties"]["Body"]["servers"]
        switched = [server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"],
                    self.resources["WebSocketApi"]["Properties"]["DisableExecuteApiEndpoint"]]
        self.assertEqual(switched, [{"Fn::If": [f"Has{api}Domain", True, False]} for api in ("Http", "WebSocket")])
        # Frames are posted there too: the default address is closed to them as to browsers.
        for name, function in self.functions.items():
            for variable, scheme in (("WEBSOCKET_ENDPOINT", "https"), ("WEBSOCKET_URL", "wss")):
                if variable in function["Environment"]["Variables"]:
                    condition, own, default = function["Environment"]["Variables"][variable]["Fn::If"]
                    self.assertEqual((condition, text(own)), ("HasWebSocketDomain", scheme + "://${WebSocketDomain}"), name)
                    self.assertIn(".execute-api.", text(default), name)


class Alarms(unittest.TestCase):
    """What looks at metrics looks at metrics that exist, tells somebody, and is explained."""

    @classmethod
    def setUpClass(cls):
        cls.resources = transformed()["Resources"]
        cls.alarms = {n: r["Properties"] for n, r in cls.resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
        body = cls.resources["OperationsDashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        cls.dashboard = json.loads(body)
        source = (TEMPLATE.parent / "shared/telemetry/src/metrics.rs").read_text()
        rows = re.findall(r"^//! \| `(\w+)` \| \w+ \| ([^|]*)\|(.*)$", source, re.MULTILINE)
        cls.own = {name: re.findall(r"`(\w+)`", dimensions) for name, dimensions, _ in rows}
        cls.counted = {name: counted for name, _, counted in rows}
        cls.runbook = (TEMPLATE.parent / "infra/docs/runbook.md").read_text()

    def check(self, where: str, namespace: str, metric: str, dimensions: dict):
        if namespace == "ghl-sync":
            self.assertIn(metric, self.own, where)
            self.assertIn(set(dimensions), [{"LocationId"}, {"LocationId", *self.own[metric]}], f"{where}: {metric}")
            self.assertEqual(dimensions["LocationId"], "${LocationId}", where)
            for name in set(dimensions) - {"LocationId"} - COUNTED_BY:
                self.assertIn(f"`{dimensions[name]}`", self.counted[metric], where)
            return
        self.assertIn(metric, OF_AWS[namespace], where)
        if len(dimensions) > 1:
            self.assertEqual(set(dimensions), OF_A_ROUTE, where)
            route = self.resources["HttpApi"]["Properties"]["Body"]["paths"][dimensions["Resource"]]
            self.assertIn(dimensions["Method"].lower(), route, where)
            self.assertEqual(dimensions["Stage"], "$default", where)
        of = {"AWS/SQS": "QueueName", "AWS/Lambda": "FunctionName", "AWS/ApiGateway": "ApiId"}
        (named,) = re.fullmatch(r"\$\{(\w+)(?:[.]QueueName)?\}", dimensions[of[namespace]]).groups()
        self.assertIn(named, self.resources, where)

    def test_each_alarm_looks_at_metrics_that_are_there(self):
        seen = set()
        for name, alarm in self.alarms.items():
            stats = [metric["MetricStat"]["Metric"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric]
            for metric in stats or [alarm]:
                dimensions = {d["Name"]: text(d["Value"]) for d in metric["Dimensions"]}
                self.check(name, metric["Namespace"], metric["MetricName"], dimensions)
                seen |= {value for value in dimensions.values()}
            # CloudWatch takes no more in one alarm.
            self.assertLessEqual(len(stats), 10, name)
        for name, resource in self.resources.items():
            if resource["Type"] == "AWS::Lambda::Function":
                self.assertIn("${%s}" % name, seen, "a function that no alarm watches")
            if resource["Type"] == "AWS::SQS::Queue":
                self.assertIn("${%s.QueueName}" % name, seen, "a queue that no alarm watches")

    def test_each_alarm_tells_its_beginning_and_its_end(self):
        told = {"AlarmTopic": set(), "NoticeTopic": set()}
        for name, alarm in self.alarms.items():
            (topic,) = alarm["AlarmActions"]
            self.assertEqual(alarm["OKActions"], [topic], name)
            # Where data that is missing is no good news, that is told as well.
            self.assertEqual(alarm.get("InsufficientDataActions"), [topic] if alarm["TreatMissingData"] == "missing" else None, name)
            told[topic["Ref"]].add(self.named(alarm))
        self.assertEqual(told, {"AlarmTopic": AT_NIGHT, "NoticeTopic": BY_DAY})

    def test_whoever_hears_of_alarms_hears_of_notices_unless_somebody_else_does(self):
        subscriptions = {n: r for n, r in self.resources.items() if r["Type"] == "AWS::SNS::Subscription"}
        self.assertEqual(subscriptions["AlarmSubscription"]["Properties"]["Endpoint"], {"Ref": "AlarmEmail"})
        self.assertEqual(subscriptions["NoticeSubscription"]["Properties"]["Endpoint"],
                         {"Fn::If": ["HasNoticeEmail", {"Ref": "NoticeEmail"}, {"Ref": "AlarmEmail"}]})
        either = {"Fn::Or": [{"Condition": "HasAlarmEmail"}, {"Condition": "HasNoticeEmail"}]}
        self.assertEqual(yaml_parse(TEMPLATE.read_text())["Conditions"]["SomebodyHearsNotices"], either)

    def named(self, alarm: dict) -> str:
        return alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")

    def test_the_costs_count_the_alarms(self):
        looked_at = sum(len([m for m in alarm.get("Metrics", []) if "MetricStat" in m]) or 1 for alarm in self.alarms.values())
        row = f"{len(self.alarms)} alarms over {looked_at} metrics, 0.10 each | {looked_at / 10:.2f} |"
        page = (TEMPLATE.parent / "infra/docs/costs.md").read_text()
        self.assertIn(row, page)
        costs = [float(cost) for cost in re.findall(r"\| ([0-9.]+) \|$", page, re.MULTILINE)]
        self.assertAlmostEqual(sum(costs), float(re.search(r"\*\*sum\*\* \| \| \*\*([0-9.]+)\*\*", page).group(1)))

    def test_the_runbook_has_a_chapter_for_each_alarm_and_no_other(self):
        names = {self.named(alarm) for alarm in self.alarms.values()}
        _, _, chapters = self.runbook.partition("\n## Alarms\n")
        parts = re.split(r"^### ", chapters.split("\n## ")[0], flags=re.MULTILINE)[1:]
        self.assertEqual({part.split("\n")[0] for part in parts}, names)
        for part in parts:
            for question in ("**Means.**", "**Look.**", "**Do.**", "**Over.**"):
                self.assertIn(question, part, part.split("\n")[0])
        for name, alarm in self.alarms.items():
            self.assertIn("infra/docs/runbook.md", alarm["AlarmDescription"], name)

    def test_the_dashboard_shows_metrics_that_are_there_and_every_alarm(self):
        shown = set()
        for widget in self.dashboard["widgets"]:
            shown |= set(widget["properties"].get("alarms", []))
            title = widget["properties"]["title"]
            for line in widget["properties"].get("metrics", []):
                namespace, metric, *pairs = [part for part in line if isinstance(part, str)]
                self.check(title, namespace, metric, dict(zip(pairs[::2], pairs[1::2])))
        # Those two exist only while runs start by themselves.
        scheduled = {"${NoSyncAlarm.Arn}", "${NoFullSyncAlarm.Arn}"}
        self.assertEqual(shown, {"${%s.Arn}" % name for name in self.alarms} - scheduled)


if __name__ == "__main__":
    unittest.main()
