"""Sending ten messages needs the same permission as sending one.

On AWS `SendMessageBatch`, `DeleteMessageBatch` and `ChangeMessageVisibilityBatch` are no actions of their own: a policy allows
`sqs:SendMessage`, and so on. ministack, which checks policies here (`AUTH=true`), asks for `sqs:SendMessageBatch`, which no policy on
AWS can name.
"""


def apply() -> None:
    from ministack.core import iam_evaluator

    enforce = iam_evaluator.enforce

    def enforce_single(access_key_id, iam_action, service, *args, **kwargs):
        action = iam_action.removesuffix("Batch") if service == "sqs" else iam_action
        return enforce(access_key_id, action, service, *args, **kwargs)

    iam_evaluator.enforce = enforce_single
