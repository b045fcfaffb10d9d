"""A function gets as many messages at a time as its event source mapping says.

On AWS Lambda's poller gathers several receives of ten up to `BatchSize`, for as long as `MaximumBatchingWindowInSeconds`. ministack
hands on one receive, ten messages at most, so that a run would cost more invocations and database calls here. It also hands on
at once what there is: the window, which AWS may wait out for messages to come, is not waited here.
"""

PER_RECEIVE = 10


def apply() -> None:
    from ministack.services import sqs

    receive = sqs._receive_messages_for_esm

    def receive_up_to(queue_url, max_number):
        wanted, batch = int(max_number or 1), []
        while len(batch) < wanted:
            more = receive(queue_url, min(wanted - len(batch), PER_RECEIVE))
            batch += more
            if len(more) < PER_RECEIVE:
                break
        return batch

    sqs._receive_messages_for_esm = receive_up_to
