"""What `faults.py` lets happen, with an application that counts instead of ministack. Run by `cargo xtask test mends`."""

import asyncio
import json
import time
import unittest

import faults


class Faults(unittest.TestCase):
    def setUp(self):
        faults.faults.clear()
        self.sent, self.delays = [], []
        self.app = faults.wrap(self.cloud)

    async def cloud(self, scope, receive, send):
        body = await faults.read(receive)
        entries = json.loads(body).get("Entries", []) if body else []
        self.sent.extend(entry["MessageBody"] for entry in entries)
        self.delays.extend(entry.get("DelaySeconds", 0) for entry in entries)
        await faults.respond(send, 200, {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []})

    def call(self, method, path, body=b"", headers=()):
        """Status and JSON of the answer."""
        return asyncio.run(self.called(method, path, body, headers))

    async def called(self, method, path, body, headers, gives_up_after=60):
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if not given:
                await asyncio.sleep(gives_up_after)
            return given.pop() if given else {"type": "http.disconnect"}

        messages = []

        async def send(message):
            messages.append(message)

        await self.app(scope, receive, send)
        return (messages[0]["status"], json.loads(messages[1]["body"])) if messages else None

    def order(self, **fault):
        status, answer = self.call("POST", faults.PATH, json.dumps(fault).encode())
        self.assertEqual(status, 200, answer)

    def send(self, *bodies, queue="ghl-sync-TicketsQueue-1a2b"):
        return asyncio.run(self.sending(*bodies, queue=queue))

    async def sending(self, *bodies, queue="ghl-sync-TicketsQueue-1a2b", gives_up_after=60):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        request = {"QueueUrl": f"http://127.0.0.1/000000000000/{queue}", "Entries": entries}
        target = [(b"x-amz-target", b"AmazonSQS.SendMessageBatch")]
        return await self.called("POST", "/", json.dumps(request).encode(), target, gives_up_after)

    def test_without_faults_everything_passes(self):
        self.assertEqual(self.send("a")[0], 200)
        self.assertEqual(self.sent, ["a"])

    def test_a_refusal_befalls_its_queue_so_many_times(self):
        self.order(service="sqs", kind="refuse", queue="tickets", times=1)
        self.assertEqual(self.send("a", queue="ghl-sync-OrdersQueue-1")[0], 200)
        self.assertEqual(self.send("a", queue="ghl-sync-DeadLetterQueue-1")[0], 200)
        self.assertEqual(self.send("b")[0], 503)
        self.assertEqual(self.send("b")[0], 200)
        self.assertEqual(self.sent, ["a", "a", "b"])

    def test_a_queue_of_two_words(self):
        self.order(service="sqs", kind="refuse", queue="orders-bulk")
        self.assertEqual(self.send("a", queue="ghl-sync-OrdersQueue-1")[0], 200)
        self.assertEqual(self.send("a", queue="ghl-sync-OrdersBulkQueue-1")[0], 503)

    def test_each_message_is_lost_once(self):
        self.order(service="sqs", kind="drop_once")
        _, answer = self.send("a", "b")
        self.assertEqual([one["Id"] for one in answer["Successful"]], ["0", "1"])
        self.assertEqual(self.sent, [])
        _, answer = self.send("b", "c")
        self.assertEqual(sorted(one["Id"] for one in answer["Successful"]), ["0", "1"])
        self.assertEqual(self.sent, ["b"])

    def test_late_messages_get_a_longer_delay(self):
        self.order(service="sqs", kind="late", seconds=60, times=1)
        self.send("a", "b")
        self.send("c")
        self.assertEqual((self.sent, self.delays), (["a", "b", "c"], [60, 60, 0]))

    def test_each_message_is_sent_twice(self):
        self.order(service="sqs", kind="duplicate")
        self.assertEqual(self.send("a")[1]["Successful"], [{"Id": "0"}])
        self.assertEqual(self.sent, ["a", "a"])

    def test_a_delay_comes_after_and_a_hold_before_what_is_done(self):
        for kind, done in [("delay", ["a"]), ("hold", [])]:
            self.setUp()
            self.order(service="sqs", kind=kind, seconds=0.2)

            async def look():
                entries = [{"Id": "0", "MessageBody": "a"}]
                request = json.dumps({"QueueUrl": "x/ghl-sync-TicketsQueue-1", "Entries": entries}).encode()
                target = [(b"x-amz-target", b"AmazonSQS.SendMessageBatch")]
                calling = asyncio.create_task(self.called("POST", "/", request, target))
                await asyncio.sleep(0.05)
                meanwhile = list(self.sent)
                self.assertEqual((await calling)[0], 200)
                return meanwhile

            started = time.monotonic()
            self.assertEqual(asyncio.run(look()), done, kind)
            self.assertGreaterEqual(time.monotonic() - started, 0.19)
            self.assertEqual(self.sent, ["a"])

    def test_what_hangs_answers_nobody_until_it_is_over(self):
        self.order(service="sqs", kind="hang", seconds=0.5)

        async def look():
            begun = time.monotonic()
            first = asyncio.create_task(self.sending("a"))
            # It counts from the first call.
            await asyncio.sleep(0.2)
            gave_up, second = await asyncio.gather(self.sending("b", gives_up_after=0.1), self.sending("c"))
            answers = (await first)[0], second[0], gave_up
            return answers, time.monotonic() - begun, (await self.sending("d"))[0]

        answers, took, later = asyncio.run(look())
        self.assertEqual((answers, later), ((200, 200, None), 200))
        self.assertGreaterEqual(took, 0.49)
        self.assertEqual(sorted(self.sent), ["a", "c", "d"], "what nobody waits for isn't done")

    def test_what_hangs_goes_on_once_its_fault_is_ended(self):
        self.order(service="sqs", kind="hang", seconds=60)

        async def look():
            calling = asyncio.create_task(self.sending("a"))
            await asyncio.sleep(0.05)
            await self.called("DELETE", faults.PATH, b"", [])
            return (await calling)[0]

        self.assertEqual(asyncio.run(asyncio.wait_for(look(), 10)), 200)

    def test_ssm_by_its_target(self):
        self.order(service="ssm", kind="refuse")
        self.assertEqual(self.call("POST", "/", b"{}", [(b"x-amz-target", b"AmazonSSM.GetParameter")])[0], 503)
        self.assertEqual(self.send("a")[0], 200)

    def test_s3_by_its_signature_and_method(self):
        self.order(service="s3", kind="refuse", method="PUT")
        signed = [(b"authorization", b"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, ...")]
        self.assertEqual(self.call("GET", "/bucket/key", headers=signed)[0], 200)
        self.assertEqual(self.call("PUT", "/bucket/key", headers=signed)[0], 503)
        self.assertEqual(self.call("PUT", "/somewhere/else")[0], 200)

    def test_what_is_no_fault_is_named(self):
        for fault, word in [({"service": "ec2"}, "service"), ({"service": "s3", "kind": "drop_once"}, "sqs"),
                            ({"service": "s3", "kind": "delay"}, "seconds"), ({"service": "ssm", "kind": "hang"}, "seconds"),
                            ({"service": "sqs", "kind": "late", "seconds": 0.5}, "whole")]:
            status, answer = self.call("POST", faults.PATH, json.dumps(fault).encode())
            self.assertEqual(status, 400)
            self.assertIn(word, answer["error"])
        self.assertEqual(self.call("GET", faults.PATH)[1], {"faults": []})


if __name__ == "__main__":
    unittest.main()
