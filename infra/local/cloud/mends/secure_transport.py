"""What arrives over the loopback counts as arriving over TLS.

The template's bucket refuses whoever doesn't speak TLS, as it must on AWS. ministack, which checks policies here
(`AUTH=true`), serves plain HTTP on 127.0.0.1 alone: without this nothing could be read from or written to the bucket.
"""


def apply() -> None:
    from ministack import app

    pin = app.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure_transport: pin(source_ip, True)
