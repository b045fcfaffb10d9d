"""Starts the local cloud (ministack) as this project needs it.

ministack runs `template.yaml` and the Lambda binaries without Docker. Where it differs from AWS in a way that
would change what our functions see, a module in `mends/` puts it right in memory: nothing in site-packages is
touched. `test_mends.py` has a test for each, which fails as soon as ministack no longer needs it.

Every setting comes from the environment (see `infra/xtask/src/cloud.rs`): GATEWAY_PORT, BIND_HOST, FUNCTION_LOG, ...
"""

import mends


def main() -> None:
    mends.apply_all()
    from ministack.app import main as serve

    serve()


if __name__ == "__main__":
    main()
