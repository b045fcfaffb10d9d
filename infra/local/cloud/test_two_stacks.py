"""Two stacks of `template.yaml` in one account and region, such as production and staging. Run by `cargo xtask test mends`.

A local cloud of its own, with functions that only note who was invoked by what: nothing in the template has a name that a second
stack can't have too, and each stack's doors and queues reach its own functions, though both share the account's ten executions. And one
stack with everything switched on that is off by default.
"""

import unittest

import deploy
from own_cloud import OwnCloud

STACKS = ("ghl-sync", "ghl-sync-staging")
READERS = {"OrdersQueue": "OrderWorkerFunction", "OrdersBulkQueue": "OrderWorkerFunction", "TicketsQueue": "TicketsFunction",
           "RunsQueue": "RunWorkerFunction", "DeadLetterQueue": "DeadLettersFunction"}


class TwoStacks(OwnCloud):
    variables = {"AUTH": "true", "LAMBDA_ACCOUNT_CONCURRENCY": "10"}

    def names(self, stack: str) -> set:
        """What the stack's resources are called, with their kinds; but for stages, whose names belong to their API."""
        pages = deploy.Cloud(self.endpoint).cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        names = {(resource["ResourceType"], resource["PhysicalResourceId"]) for resource in resources}
        return {(kind, name) for kind, name in names if kind != "AWS::ApiGatewayV2::Stage"}

    def test_a_second_stack_shares_nothing_with_the_first_and_both_work(self):
        described = [self.deploy(stack, {"DOES": "note", "NOTES": str(self.notes)}) for stack in STACKS]
        first, second = (self.names(stack) for stack in STACKS)
        self.assertEqual([len(stack["functions"]) for stack in described], [12, 12])
        self.assertEqual(len(first), len(second))
        self.assertEqual(len([kind for kind, _ in first if kind == "AWS::Scheduler::Schedule"]), 3)
        self.assertEqual(first & second, set())

        expected, sqs = set(), deploy.Cloud(self.endpoint).sqs
        for stack in described:
            url = f"{self.endpoint}/_aws/execute-api/{stack['apis']['HttpApi']}/$default/api/ghl/webhook-qr"
            self.assertEqual(self.status(url, "POST"), 202)
            expected.add(f"{stack['functions']['WebhookFunction']} http")
            for queue, reader in READERS.items():
                sqs.send_message(QueueUrl=stack["queues"][queue], MessageBody="work")
                name = stack["queues"][queue].rpartition("/")[2]
                expected.add(f"{stack['functions'][reader]} {name}")
        self.wait_for("the work of both", lambda: len(self.noted()) >= len(expected))
        self.assertEqual(set(self.noted()), expected)
        self.assertEqual(len(self.noted()), len(expected), "something was done twice")

    def test_what_is_off_by_default_can_be_switched_on(self):
        certificate = "arn:aws:acm:us-east-1:000000000000:certificate/an-invented-one"
        switches = {"HttpDomain": "tickets.example.com", "WebSocketDomain": "live.tickets.example.com", "CertificateArn": certificate,
                    "AlarmEmail": "night@example.com", "NoticeEmail": "day@example.com", "WebSocketAccessLogs": "true",
                    "SchedulesEnabled": "true", "WatchEnabled": "true"}
        described = self.deploy(STACKS[0], {"DOES": "note", "NOTES": str(self.notes)}, **switches)
        cloud = deploy.Cloud(self.endpoint)
        (stack,) = cloud.cloudformation.describe_stacks(StackName=STACKS[0])["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.assertEqual(outputs["WebhookUrl"], "https://tickets.example.com/api/ghl/webhook-qr")
        self.assertEqual(outputs["WebSocketUrl"], "wss://live.tickets.example.com")
        self.assertTrue(outputs["HttpDomainTarget"] and outputs["WebSocketDomainTarget"], outputs)
        for function, variable, address in [
            ("DashboardFunction", "WEBSOCKET_URL", "wss://live.tickets.example.com"),
            ("RunWorkerFunction", "WEBSOCKET_ENDPOINT", "https://live.tickets.example.com"),
        ]:
            configuration = cloud.functions.get_function_configuration(FunctionName=described["functions"][function])
            self.assertEqual(configuration["Environment"]["Variables"][variable], address)
        kinds = [kind for kind, _ in self.names(STACKS[0])]
        self.assertEqual([kinds.count(f"AWS::{kind}") for kind in ("SNS::Subscription", "ApiGatewayV2::ApiMapping")], [2, 2])
        alarms = {name for kind, name in self.names(STACKS[0]) if kind == "AWS::CloudWatch::Alarm"}
        self.assertIn(f"{STACKS[0]}-no-sync", alarms)


if __name__ == "__main__":
    unittest.main()
