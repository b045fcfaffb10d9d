"""Starts the local cloud (ministack) as this project needs it.

ministack runs `template.yaml` and the Lambda binaries without Docker. Where it differs from AWS in a way that
would change what our functions see, a module in `mends/` puts it right in memory: nothing in site-packages is
touched. `test_mends.py` has a test for each, which fails as soon as ministack no longer needs it. `faults.py` lets
tests order what AWS does rarely: refusals, delays, lost and doubled messages. `grants.py` notes which permissions
the functions use: their roles are checked at each call (`AUTH=true`), as on AWS. `invocations.py` notes when each
function ran, for the benchmark. `LAMBDA_ACCOUNT_CONCURRENCY` says how many run at a time:
ten in a new account (`mends/account_concurrency.py`), and a chain of messages ends as on AWS (`mends/recursive_loops.py`).

Every setting comes from the environment (see `infra/xtask/src/develop/stack/cloud.rs`): GATEWAY_PORT, BIND_HOST, FUNCTION_LOG, ...
"""

import faults
import grants
import invocations
import mends


def main() -> None:
    # Inside the mends, so that actions are noted as AWS names them.
    grants.watch()
    invocations.watch()
    mends.apply_all()
    from ministack import app

    app.app = grants.wrap(invocations.wrap(faults.wrap(app.app)))
    app.main()


if __name__ == "__main__":
    main()
