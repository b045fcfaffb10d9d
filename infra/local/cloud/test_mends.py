"""A test for each mend: that ministack still needs it, and that it works.

The first half of a test shows the fault in ministack as it is. When that half fails, ministack has learned it, and
the mend can go: the message says which. Run by `cargo xtask test mends`.
"""

import asyncio
import json
import queue
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from mends import (
    account_concurrency,
    alarm_math,
    cors_case,
    function_log,
    http_api_body,
    log_wait,
    recursive_loops,
    reserved_concurrency,
    runtime_api_delay,
    schedule_conflict,
    secure_transport,
    sqs_batch_actions,
    sqs_batch_size,
    throttling,
    websocket_reply,
)
from ministack import app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import apigateway, lambda_svc, sqs, sts
from ministack.services.cloudformation import provisioners

FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def can_go(mend) -> str:
    return f"ministack no longer needs {mend.__name__}: remove it"


def created(kind: str, props: dict) -> str:
    """The id of a resource that CloudFormation makes of these properties."""
    return provisioners._RESOURCE_HANDLERS[kind]["create"]("Thing", props, "a-stack")[0]


def worker():
    return lambda_runtime.ProvidedWorker("a-function", {}, b"")


class RecursiveLoops(unittest.TestCase):
    """What follows from it is shown by `test_limits.py`."""

    TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:3"

    def kept(self):
        """The trace header of a message that a function sends."""
        url = sqs._act_create_queue({"QueueName": "chain"}, "")["QueueUrl"]
        headers = {"x-amz-target": "AmazonSQS.SendMessage", "x-amzn-trace-id": self.TRACE}
        body = json.dumps({"QueueUrl": url, "MessageBody": "m"}).encode()
        asyncio.run(sqs.handle_request("POST", "/", headers, body, {}))
        (message,) = sqs._receive_messages_for_esm(url, 1)
        sqs._act_delete_queue({}, url)
        return message["sys"].get("AWSTraceHeader")

    def setting(self):
        name = created("AWS::Lambda::Function", {"Runtime": "provided.al2023", "RecursiveLoop": "Allow"})
        return lambda_svc._functions[name].get("recursive_loop")

    def test_a_message_carries_its_chain_and_a_template_allows_loops(self):
        self.assertEqual((self.kept(), self.setting()), (None, None), can_go(recursive_loops))
        recursive_loops.apply()
        self.assertEqual((self.kept(), self.setting()), (self.TRACE, "Allow"))

    def test_the_next_invocation_counts(self):
        header = recursive_loops.Header(self.TRACE)
        header.count("f")
        header.count("f")
        self.assertEqual(header.invocations("f"), 2)
        again = recursive_loops.Header(str(header))
        self.assertEqual((again.lineage, again.fields["Root"]), (header.lineage, header.fields["Root"]))
        self.assertEqual(again.lineage["a87bd80c"], 3)
        # The longer of two chains is gone on with.
        longer = again.joined(recursive_loops.Header("Lineage=a87bd80c:7"))
        self.assertEqual((longer.lineage["a87bd80c"], longer.invocations("f")), (7, 2))


class AccountConcurrency(unittest.TestCase):
    """What follows from it is shown by `test_limits.py`."""

    def status_of_a_refusal(self) -> int:
        refusal = {"throttle": True, "error": True, "body": {"__type": "TooManyRequestsException"}}
        return lambda_svc.lambda_execute_result_to_api_proxy_response(refusal)[0]["statusCode"]

    def reserve(self, executions: int) -> int:
        return lambda_svc._put_function_concurrency(self.name, {"ReservedConcurrentExecutions": executions})[0]

    def started(self, function: str, most: int) -> int:
        """How many executions of a function there is room for, up to so many."""
        slots = []
        record = lambda_svc._functions[function]
        for _ in range(most):
            slot, _ = lambda_svc._acquire_execution_slot(record, record["config"])
            if slot is None:
                break
            slots.append(slot)
        self.addCleanup(lambda: [lambda_svc._release_execution_slot(slot) for slot in slots])
        return len(slots)

    def test_an_account_is_shared_as_on_aws(self):
        self.name = created("AWS::Lambda::Function", {"Runtime": "provided.al2023", "FunctionName": "reserving"})
        other = created("AWS::Lambda::Function", {"Runtime": "provided.al2023", "FunctionName": "other"})
        with mock.patch.object(lambda_svc, "_ACCOUNT_CONCURRENCY_CAP", 110):
            self.assertEqual((self.status_of_a_refusal(), self.reserve(11)), (429, 200), can_go(account_concurrency))
            account_concurrency.apply()
            self.assertEqual((self.status_of_a_refusal(), self.reserve(11), self.reserve(10)), (503, 400, 200))
            # What is reserved is kept from the others, and they from it.
            self.assertEqual((self.started(other, 110), self.started(self.name, 110)), (100, 10))
        lambda_svc._delete_function_concurrency(self.name)


class RuntimeApiDelay(unittest.TestCase):
    def sends_at_once(self) -> bool:
        return worker()._build_handler_class(0, queue.Queue()).disable_nagle_algorithm

    def test_the_runtime_api_sends_at_once(self):
        self.assertFalse(self.sends_at_once(), can_go(runtime_api_delay))
        runtime_api_delay.apply()
        self.assertTrue(self.sends_at_once())


class LogWait(unittest.TestCase):
    def shortest_wait(self) -> float:
        """Seconds that a silent invocation waits for output; the shortest of several, as others need the processor too."""
        waits = []
        for _ in range(5):
            started = time.monotonic()
            worker()._drain_stderr_bounded()
            waits.append(time.monotonic() - started)
        return min(waits)

    def test_a_silent_invocation_does_not_wait_for_output(self):
        self.assertGreater(self.shortest_wait(), 0.02, can_go(log_wait))
        log_wait.apply()
        self.assertLess(self.shortest_wait(), 0.02)


class FunctionLog(unittest.TestCase):
    class Output:
        """What a function printed, as its pipe gives it."""

        def __init__(self, *lines):
            self.lines = list(lines)

        def readline(self):
            return self.lines.pop(0) if self.lines else b""

        def close(self):
            pass

    def test_what_a_function_prints_stands_in_the_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "functions.log"
            with mock.patch.dict("os.environ", {"FUNCTION_LOG": str(path)}):
                worker()._pump_output(self.Output(b"before\n"), queue.Queue())
                self.assertFalse(path.exists(), can_go(function_log))
                function_log.apply()
            lines = queue.Queue()
            worker()._pump_output(self.Output(b"hello\n", b"again\n"), lines)
            self.assertEqual(path.read_text(), "a-function hello\na-function again\n")
            self.assertEqual([lines.get(), lines.get()], ["hello", "again"])


class HttpApiBody(unittest.TestCase):
    BODY = {
        "info": {"title": "an-api"},
        "tags": [{"name": "ms-custom-id", "x-amazon-apigateway-tag-value": "b0000001"}],
        "components": {
            "securitySchemes": {
                "Who": {
                    "x-amazon-apigateway-authorizer": {
                        "type": "request",
                        "authorizerUri": FUNCTION_ARN,
                        "identitySource": "$request.header.Authorization",
                        "authorizerPayloadFormatVersion": "2.0",
                        "enableSimpleResponses": True,
                        "authorizerResultTtlInSeconds": 0,
                    }
                }
            }
        },
        "paths": {
            "/open": {"get": {"x-amazon-apigateway-integration": {"type": "aws_proxy", "uri": FUNCTION_ARN}}},
            "/closed": {
                "post": {
                    "x-amazon-apigateway-integration": {"type": "aws_proxy", "uri": FUNCTION_ARN},
                    "security": [{"Who": []}],
                }
            },
        },
    }

    def routes(self) -> dict:
        api_id = created("AWS::ApiGatewayV2::Api", {"Body": self.BODY})
        self.api_id = api_id
        return {route["routeKey"]: route for route in apigateway._routes[api_id].values()}

    def test_an_api_has_the_routes_of_its_document(self):
        self.assertEqual(self.routes(), {}, can_go(http_api_body))
        http_api_body.apply()
        routes = self.routes()
        self.assertEqual(self.api_id, "b0000001")
        self.assertEqual(set(routes), {"GET /open", "POST /closed"})
        self.assertEqual(routes["GET /open"]["authorizationType"], "NONE")
        self.assertEqual(routes["POST /closed"]["authorizationType"], "CUSTOM")
        authorizer = apigateway._authorizers[self.api_id][routes["POST /closed"]["authorizerId"]]
        self.assertEqual(authorizer["identitySource"], ["$request.header.Authorization"])
        self.assertTrue(authorizer["enableSimpleResponses"])


class CorsCase(unittest.TestCase):
    ORIGIN = "http://page.example"

    def allowed(self):
        props = {"Name": "n", "CorsConfiguration": {"AllowOrigins": [self.ORIGIN], "AllowMethods": ["GET"]}}
        settings = apigateway._apis[created("AWS::ApiGatewayV2::Api", props)]["corsConfiguration"]
        return apigateway._cors_response_headers(settings, self.ORIGIN).get("Access-Control-Allow-Origin")

    def test_cors_settings_of_a_template_count(self):
        self.assertIsNone(self.allowed(), can_go(cors_case))
        cors_case.apply()
        self.assertEqual(self.allowed(), self.ORIGIN)


class ReservedConcurrency(unittest.TestCase):
    def limit(self):
        with mock.patch.object(lambda_svc, "_ACCOUNT_CONCURRENCY_CAP", 1000):
            name = created("AWS::Lambda::Function", {"Runtime": "provided.al2023", "ReservedConcurrentExecutions": 3})
        record = lambda_svc._functions[name]
        return lambda_svc._reserved_concurrency(record, record["config"])

    def test_a_limit_in_a_template_counts(self):
        self.assertIsNone(self.limit(), can_go(reserved_concurrency))
        reserved_concurrency.apply()
        self.assertEqual(self.limit(), 3)


class ScheduleConflict(unittest.TestCase):
    def of_two_stacks(self):
        for _ in range(2):
            created("AWS::Scheduler::Schedule", {"Name": "nightly", "ScheduleExpression": "rate(1 day)"})

    def test_a_name_that_is_taken_is_refused(self):
        try:
            self.of_two_stacks()
        except ValueError:
            self.fail(can_go(schedule_conflict))
        schedule_conflict.apply()
        with self.assertRaisesRegex(ValueError, "Schedule nightly already exists"):
            self.of_two_stacks()


class SecureTransport(unittest.TestCase):
    def is_secure(self) -> bool:
        app.pin_request_origin("127.0.0.1", False)
        context = iam_evaluator.EvalContext("arn:aws:iam::000000000000:root", "Root", "000000000000", "s3:GetObject", "*", "")
        return context.secure_transport

    def test_the_loopback_counts_as_tls(self):
        self.assertFalse(self.is_secure(), can_go(secure_transport))
        secure_transport.apply()
        self.assertTrue(self.is_secure())


class SqsBatchActions(unittest.TestCase):
    def asked_for(self) -> str:
        """The action that is looked for in the policies of somebody who sends ten messages."""
        with mock.patch.object(iam_evaluator, "evaluate", side_effect=self.note):
            with mock.patch.object(iam_evaluator, "authenticate", return_value=None):
                arn = "arn:aws:sts::000000000000:assumed-role/a-role/a-session"
                sts.register_session("ASIA0123456789ABCDEF", {
                    "Arn": arn, "UserId": "a-role:a-session", "SecretAccessKey": "s", "SessionToken": "t"})
                iam_evaluator.enforce("ASIA0123456789ABCDEF", "sqs:SendMessageBatch", "sqs", "us-east-1", "arn:aws:sqs:::q")
        return self.action

    def note(self, context, *policies):
        self.action = context.action
        return iam_evaluator.EvalResult("Allow")

    def test_a_batch_needs_what_one_message_needs(self):
        self.assertEqual(self.asked_for(), "sqs:SendMessageBatch", can_go(sqs_batch_actions))
        sqs_batch_actions.apply()
        self.assertEqual(self.asked_for(), "sqs:SendMessage")


class SqsBatchSize(unittest.TestCase):
    def received(self) -> list[int]:
        """How many of 23 messages the poller takes each time, 20 at most."""
        url = sqs._act_create_queue({"QueueName": "many"}, "")["QueueUrl"]
        for number in range(23):
            sqs._act_send_message({"MessageBody": str(number)}, url)
        sizes = [len(sqs._receive_messages_for_esm(url, 20)) for _ in range(2)]
        sqs._act_delete_queue({}, url)
        return sizes

    def test_a_batch_may_be_larger_than_a_receive(self):
        self.assertEqual(self.received(), [10, 10], can_go(sqs_batch_size))
        sqs_batch_size.apply()
        self.assertEqual(self.received(), [20, 3])


class AlarmMath(unittest.TestCase):
    def alarm(self):
        """The name of an alarm over the sum of two metrics."""
        metrics = [{"Id": "all", "Expression": "a + b"}]
        for name in ("a", "b"):
            stat = {"Stat": "Sum", "Period": 300, "Metric": {"Namespace": "n", "MetricName": name, "Dimensions": []}}
            metrics.append({"Id": name, "ReturnData": False, "MetricStat": stat})
        limit = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 1, "EvaluationPeriods": 1}
        return created("AWS::CloudWatch::Alarm", {"AlarmName": "sum", "Metrics": metrics, **limit})

    def test_an_alarm_over_several_metrics_is_made(self):
        with self.assertRaisesRegex(ValueError, "metric math", msg=can_go(alarm_math)):
            self.alarm()
        alarm_math.apply()
        self.assertEqual(self.alarm(), "sum")


class Throttling(unittest.TestCase):
    def statuses(self):
        """Of five requests at once to a route with a burst of two, of three to the others with a burst of one, and of four to a route
        with a variable and a burst of three."""
        api_id = created("AWS::ApiGatewayV2::Api", {"Name": "n", "ProtocolType": "HTTP"})
        limits = {"ThrottlingBurstLimit": 2, "ThrottlingRateLimit": 0.01}
        others = {"ThrottlingBurstLimit": 1, "ThrottlingRateLimit": 0.01}
        of_tickets = {"ThrottlingBurstLimit": 3, "ThrottlingRateLimit": 0.01}
        of_routes = {"POST /open": limits, "POST /tickets/{id}/scan": of_tickets}
        props = {"ApiId": api_id, "RouteSettings": of_routes, "DefaultRouteSettings": others}
        created("AWS::ApiGatewayV2::Stage", props)

        async def statuses(method, path, times):
            paths = [path.format(number) for number in range(times)]
            calls = [apigateway.handle_execute(api_id, "$default", path, method, {}, b"", {}) for path in paths]
            return [(await call)[0] for call in calls]

        routes = [("POST", "/open", 5), ("GET", "/else", 3), ("POST", "/tickets/{}/scan", 4)]
        return tuple(asyncio.run(statuses(*route)) for route in routes)

    def test_what_is_above_a_limit_is_refused(self):
        self.assertEqual(self.statuses(), ([404] * 5, [404] * 3, [404] * 4), can_go(throttling))
        throttling.apply()
        self.assertEqual(self.statuses(), ([404] * 2 + [429] * 3, [404] + [429] * 2, [404] * 3 + [429]))


class WebsocketReply(unittest.TestCase):
    def reply(self, route_response=None):
        """What a client is sent when the function of a route returns something."""
        api_id = created("AWS::ApiGatewayV2::Api", {"Name": "n", "ProtocolType": "WEBSOCKET"})
        apigateway._integrations[api_id] = {"i": {"integrationType": "MOCK"}}
        apigateway._integration_responses[api_id] = {"i": {"r": {"responseTemplates": {"$default": "an answer"}}}}
        route = {"routeKey": "$default", "target": "integrations/i", "routeResponseSelectionExpression": route_response}
        answer = apigateway._invoke_ws_lambda(
            api_id, "000000000000", "us-east-1", route, "live", "connection", "MESSAGE", "m", "{}", "127.0.0.1", {}
        )
        return asyncio.run(answer).get("body")

    def test_a_route_without_a_route_response_is_one_way(self):
        self.assertEqual(self.reply(), "an answer", can_go(websocket_reply))
        websocket_reply.apply()
        self.assertIsNone(self.reply())
        self.assertEqual(self.reply("$default"), "an answer")


if __name__ == "__main__":
    unittest.main()
