"""How `aws.py` tells what AWS refuses, and that it repeats no value. Run by `cargo xtask test mends`."""

import unittest
from unittest import mock

import aws
from botocore import exceptions


def refusal(code: str, message: str = "") -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}}, "PutParameter")


class Described(unittest.TestCase):
    def assertTold(self, error: Exception, *words: str) -> None:
        told = aws.describe(error, "eu-central-1")
        for word in words:
            self.assertIn(word, told)
        self.assertNotIn("\n", told)

    def test_credentials(self):
        self.assertTold(exceptions.NoCredentialsError(), "no AWS credentials", "aws sso login")
        self.assertTold(refusal("ExpiredTokenException"), "expired", "aws sso login")
        self.assertTold(refusal("UnrecognizedClientException"), "refuses the credentials", "eu-central-1")
        self.assertTold(exceptions.UnauthorizedSSOTokenError(), "session is over")
        self.assertTold(exceptions.ProfileNotFound(profile="work"), "work", "AWS_PROFILE")

    def test_region(self):
        error = exceptions.EndpointConnectionError(endpoint_url="https://ssm.eu-zentral.amazonaws.com")
        self.assertTold(error, "eu-central-1", "spelled")
        self.assertTold(exceptions.InvalidRegionError(region_name="eu central"), "no AWS region")

    def test_denied(self):
        message = "User: arn:aws:iam::1:user/a is not authorized to perform: ssm:PutParameter"
        self.assertTold(refusal("AccessDeniedException", message), "doesn't allow", "ssm:PutParameter")

    def test_no_value_is_repeated(self):
        error = refusal("ValidationException", "Value 'pit-secret' at 'value' failed to satisfy constraint")
        self.assertNotIn("pit-secret", aws.describe(error, "eu-central-1"))
        error = exceptions.ParamValidationError(report="Invalid value for parameter Value: pit-secret")
        self.assertNotIn("pit-secret", aws.describe(error, "eu-central-1"))


class Gateway(unittest.TestCase):
    def test_its_role_is_told_if_it_has_one(self):
        for account, role in [
            ({"cloudwatchRoleArn": "arn:aws:iam::1:role/logs", "throttleSettings": {}}, "arn:aws:iam::1:role/logs"),
            ({"throttleSettings": {}}, None),
            ({"cloudwatchRoleArn": ""}, None),
        ]:
            gateway = mock.Mock()
            gateway.client.return_value.get_account.return_value = account
            self.assertEqual(aws.gateway_role(gateway, {}), {"role": role})
            gateway.client.assert_called_once_with("apigateway")


class Stacks(unittest.TestCase):
    def exists(self, answer) -> bool:
        clients = mock.Mock()
        clients.client.return_value.describe_stacks.side_effect = [answer]
        return aws.has_stack(clients, {"name": "ghl-sync"})["exists"]

    def test_only_what_cloudformation_doesnt_know_is_none(self):
        self.assertIs(self.exists({"Stacks": [{"StackName": "ghl-sync"}]}), True)
        self.assertIs(self.exists(refusal("ValidationError", "Stack with id ghl-sync does not exist")), False)
        with self.assertRaises(exceptions.ClientError):
            self.exists(refusal("AccessDenied"))


class Queues:
    """SQS with one dead-letter queue."""

    def __init__(self, *bodies):
        attributes = {"Attributes": {"DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-1:000000000000:orders"}}
        self.here = [{"Body": body, "ReceiptHandle": body, **({} if body == "poison" else attributes)} for body in bodies]
        self.log = []

    def client(self, _service):
        return self

    def receive_message(self, **_request):
        return {"Messages": self.here} if self.here else {}

    def send_message(self, QueueUrl, MessageBody):  # noqa: N803
        self.log.append(("send", QueueUrl, MessageBody))

    def delete_message(self, QueueUrl, ReceiptHandle):  # noqa: N803
        self.log.append(("delete", QueueUrl, ReceiptHandle))


class Move(unittest.TestCase):
    def test_what_is_received_is_sent_before_it_is_deleted(self):
        ours = '{"location_id": "loc", "order_id": "a"}'
        queues = Queues("poison", ours)
        received = aws.receive(queues, {"queue": "dead"})["messages"]
        self.assertEqual([(m["body"], m["origin"]) for m in received], [("poison", None), (ours, "orders")])
        request = {"source": "dead", "target": "orders", "messages": received[1:]}
        self.assertEqual(aws.move(queues, request), {"moved": 1})
        self.assertEqual(queues.log, [("send", "orders", ours), ("delete", "dead", ours)])

    def test_an_empty_queue(self):
        self.assertEqual(aws.receive(Queues(), {"queue": "dead"}), {"messages": []})


if __name__ == "__main__":
    unittest.main()
