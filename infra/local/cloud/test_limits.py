"""What stops functions on AWS stops them here too: chains that come back to a function, and an account that is full.

Each test has a local cloud of its own, and functions that are programs as ours are. Run by `cargo xtask test mends`.
"""

import json
import threading
import time
import urllib.request

import boto3
import deploy
from botocore.config import Config
from own_cloud import OwnCloud

ROLE = "arn:aws:iam::000000000000:role/anybody"


class Limits(OwnCloud):
    def setUp(self):
        super().setUp()
        self.release = self.directory / "release"
        self.cloud = deploy.Cloud(self.endpoint)
        self.cloud.make_code_bucket()
        self.program("does")

    def client(self, service: str):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": deploy.REGION}
        # Once: what is refused is to be seen.
        once = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, endpoint_url=self.endpoint, config=once, **keys)

    def function(self, does: str, variables: dict | None = None, **properties) -> dict:
        code = self.cloud.upload(str(self.directory / "functions"), "does")
        environment = {"DOES": does, "NOTES": str(self.notes), "RELEASE": str(self.release), **(variables or {})}
        return {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "Runtime": "provided.al2023", "Handler": "bootstrap", "CodeUri": code, "Role": ROLE, "Timeout": 60,
                "Environment": {"Variables": environment}, **properties,
            },
        }

    def made(self, **resources) -> dict:
        template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
        self.cloud.create_stack("limits", template, [])
        return self.cloud.describe("limits")

    def sum_of(self, metric: str, function: str) -> float:
        """What Lambda has counted of a function."""
        now = time.time()
        found = self.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda", MetricName=metric, Statistics=["Sum"], Period=60,
            Dimensions=[{"Name": "FunctionName", "Value": function}], StartTime=now - 600, EndTime=now + 60)
        return sum(point["Sum"] for point in found["Datapoints"])


class Recursion(Limits):
    def looping(self, most: int, dead: bool = True, **properties) -> dict:
        """A function that sends to the queue which invokes it, until the message says `most`."""
        event = {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}}}
        variables = {"QUEUE_URL": {"Ref": "Queue"}, "MOST": str(most)}
        redrive = {"RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 5}}
        described = self.made(
            Queue={"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 60, **(redrive if dead else {})}},
            Dead={"Type": "AWS::SQS::Queue"},
            Function=self.function("loop", variables, Events={"Queue": event}, **properties),
        )
        self.queue, self.dead = described["queues"]["Queue"], described["queues"]["Dead"]
        self.cloud.sqs.send_message(QueueUrl=self.queue, MessageBody="1")
        return described["functions"]["Function"]

    def waiting(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(count) for count in attributes.values())

    def dropped(self, function: str) -> float:
        return self.sum_of("RecursiveInvocationsDropped", function)

    def test_the_seventeenth_invocation_in_a_chain_is_not_made(self):
        function = self.looping(40)
        self.wait_for("a dead letter", lambda: self.waiting(self.dead) == 1)
        time.sleep(0.5)
        self.assertEqual(self.noted(), [str(number) for number in range(1, 17)])
        self.assertEqual(self.waiting(self.queue), 0)
        (letter,) = self.cloud.sqs.receive_message(QueueUrl=self.dead, AttributeNames=["All"])["Messages"]
        self.assertEqual(letter["Body"], "17")
        self.assertTrue(letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(self.queue.rsplit("/")[-1]))
        self.assertIn(":16", letter["Attributes"]["AWSTraceHeader"].rpartition("Lineage=")[2])
        self.assertEqual(self.dropped(function), 1)
        # Whoever sends it anew begins a new chain.
        self.cloud.sqs.send_message(QueueUrl=self.queue, MessageBody="39")
        self.wait_for("the last message", lambda: self.noted()[-1] == "40")

    def test_a_function_that_allows_it_goes_on(self):
        function = self.looping(40, RecursiveLoop="Allow")
        self.wait_for("the last message", lambda: len(self.noted()) == 40)
        self.assertEqual((self.waiting(self.dead), self.dropped(function)), (0, 0))

    def test_without_a_dead_letter_queue_the_message_is_gone(self):
        function = self.looping(40, dead=False)
        self.wait_for("an invocation that isn't made", lambda: self.dropped(function) == 1)
        self.assertEqual((len(self.noted()), self.waiting(self.queue)), (16, 0))


class Doors(Limits):
    """The project's own template in the smallest account."""

    variables = {"LAMBDA_ACCOUNT_CONCURRENCY": "10"}

    def flood(self, **parameters) -> dict:
        """How many of 40 webhooks at once got which status."""
        described = self.deploy("doors", {"DOES": "brief"}, **parameters)
        url = f"{self.endpoint}/_aws/execute-api/{described['apis']['HttpApi']}/$default/api/ghl/webhook-qr"
        statuses: dict = {}

        def send():
            status = self.status(url, "POST")
            statuses[status] = statuses.get(status, 0) + 1

        senders = [threading.Thread(target=send) for _ in range(40)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return statuses

    def test_webhooks_get_the_gateways_429_before_lambdas_503(self):
        statuses = self.flood()
        self.assertEqual(set(statuses), {202, 429}, statuses)

    def test_a_burst_above_the_account_gets_503(self):
        statuses = self.flood(WebhookBurst="40")
        self.assertEqual(set(statuses), {202, 503}, statuses)


class Concurrency(Limits):
    variables = {"LAMBDA_ACCOUNT_CONCURRENCY": "3"}

    def invocations(self, method: str = "GET") -> list:
        request = urllib.request.Request(f"{self.endpoint}/_local/invocations", method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["invocations"]

    def test_each_invocation_is_noted_while_it_runs_and_after(self):
        function = self.made(Function=self.function("hold"))["functions"]["Function"]
        self.fill(function)
        # What is refused takes no time.
        with self.assertRaises(self.client("lambda").exceptions.TooManyRequestsException):
            self.invoke(function)
        running = self.invocations("DELETE")
        self.assertEqual([(each["function"], each["ended"]) for each in running], [(function, None)] * 3)
        time.sleep(0.3)
        self.release.touch()
        self.wait_for("their ends", lambda: all(each["ended"] for each in self.invocations()))
        ended = self.invocations()
        self.assertEqual(len(ended), 3)
        self.assertTrue(all(0.3 <= each["ended"] - each["started"] < 30 for each in ended), ended)
        self.assertEqual(self.invocations("DELETE"), [])

    def fill(self, function: str) -> None:
        """As many executions as the account has, until they are released."""
        for _ in range(3):
            self.invoke(function, "Event")
        self.wait_for("a full account", lambda: len(self.noted()) == 3)

    def invoke(self, function: str, kind: str = "RequestResponse"):
        return self.client("lambda").invoke(FunctionName=function, InvocationType=kind, Payload=b"{}")

    def test_the_invoke_api_answers_429(self):
        function = self.made(Function=self.function("hold"))["functions"]["Function"]
        self.fill(function)
        client = self.client("lambda")
        with self.assertRaises(client.exceptions.TooManyRequestsException) as refused:
            client.invoke(FunctionName=function, Payload=b"{}")
        self.assertEqual(refused.exception.response["ResponseMetadata"]["HTTPStatusCode"], 429)
        limit = client.get_account_settings()["AccountLimit"]
        self.assertEqual((limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]), (3, 3))

    def test_an_asynchronous_event_waits_for_room(self):
        function = self.made(Function=self.function("hold"))["functions"]["Function"]
        self.fill(function)
        self.invoke(function, "Event")
        # Longer than ministack's own two retries.
        time.sleep(4)
        self.assertEqual(len(self.noted()), 3)
        self.release.touch()
        self.wait_for("the fourth execution", lambda: len(self.noted()) == 4)

    def test_a_schedule_waits_for_room(self):
        functions = self.made(Busy=self.function("hold"), Scheduled=self.function("hold"))["functions"]
        self.fill(functions["Busy"])
        name = functions["Scheduled"]
        arn = self.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"]
        self.client("scheduler").create_schedule(
            Name="soon", ScheduleExpression=time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime()),
            FlexibleTimeWindow={"Mode": "OFF"}, Target={"Arn": arn, "RoleArn": ROLE, "Input": "{}"})
        self.wait_for("a refused execution", lambda: self.sum_of("Throttles", name) > 0)
        self.assertEqual(len(self.noted()), 3)
        self.release.touch()
        self.wait_for("the schedule's execution", lambda: len(self.noted()) == 4)

    def test_a_queue_is_tried_again_and_no_receive_is_counted(self):
        event = {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}}}
        described = self.made(
            Queue={"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 360}},
            Busy=self.function("hold"),
            Worker=self.function("hold", Events={"Queue": event}),
        )
        self.fill(described["functions"]["Busy"])
        self.cloud.sqs.send_message(QueueUrl=described["queues"]["Queue"], MessageBody="work")
        time.sleep(2)
        self.assertEqual(len(self.noted()), 3)
        self.release.touch()
        # Noted is how often it was received.
        self.wait_for("the message", lambda: self.noted()[3:] == ["1"])

    def test_a_queue_that_finds_no_room_for_its_visibility_time_out_counts_a_receive(self):
        event = {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}}}
        described = self.made(
            Queue={"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 2}},
            Busy=self.function("hold"),
            Worker=self.function("hold", Events={"Queue": event}),
        )
        self.fill(described["functions"]["Busy"])
        self.cloud.sqs.send_message(QueueUrl=described["queues"]["Queue"], MessageBody="work")
        time.sleep(4)
        self.release.touch()
        self.wait_for("the message", lambda: len(self.noted()) == 4)
        self.assertGreaterEqual(int(self.noted()[3]), 2)

    def test_the_http_api_answers_503_and_a_closed_route_500(self):
        authorizer = {
            "FunctionArn": {"Fn::GetAtt": ["Authorizer", "Arn"]}, "AuthorizerPayloadFormatVersion": "2.0",
            "EnableSimpleResponses": True, "EnableFunctionDefaultPermissions": True,
            "Identity": {"Headers": ["Authorization"], "ReauthorizeEvery": 0},
        }
        route = {"ApiId": {"Ref": "Api"}, "Method": "GET"}
        described = self.made(
            Api={"Type": "AWS::Serverless::HttpApi",
                 "Properties": {"Auth": {"DefaultAuthorizer": "Who", "Authorizers": {"Who": authorizer}}}},
            Authorizer=self.function("hold"),
            Busy=self.function("hold"),
            Page=self.function("hold", Events={
                "Open": {"Type": "HttpApi", "Properties": {**route, "Path": "/open", "Auth": {"Authorizer": "NONE"}}},
                "Closed": {"Type": "HttpApi", "Properties": {**route, "Path": "/closed"}},
            }),
        )
        url = f"{self.endpoint}/_aws/execute-api/{described['apis']['Api']}/$default"
        self.fill(described["functions"]["Busy"])
        self.assertEqual(self.status(f"{url}/open"), 503)
        self.assertEqual(self.status(f"{url}/closed", Authorization="me"), 500)
        self.release.touch()
        self.wait_for("room", lambda: self.status(f"{url}/open") == 200)
        self.assertEqual(self.status(f"{url}/closed", Authorization="me"), 200)

    def test_a_reservation_must_leave_all_of_a_small_account(self):
        with self.assertRaisesRegex(SystemExit, r"below its minimum value of \[3\]"):
            self.made(Function=self.function("brief", ReservedConcurrentExecutions=1))

    def test_a_mapping_has_two_pollers_at_least(self):
        event = {"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}, "ScalingConfig": {"MaximumConcurrency": 1}}
        with self.assertRaisesRegex(SystemExit, "greater than or equal to 2"):
            self.made(
                Queue={"Type": "AWS::SQS::Queue"},
                Function=self.function("brief", Events={"Queue": {"Type": "SQS", "Properties": event}}),
            )
