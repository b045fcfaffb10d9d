"""Two stacks of `template.yaml` in one account and region, such as production and staging. Run by `cargo xtask test mends`.

A local cloud of its own, with functions that do nothing: what counts is that nothing in the template has a name that a
second stack can't have too.
"""

import unittest

import deploy
from own_cloud import TEMPLATE, OwnCloud

PARAMETERS = {
    "LocationId": "Location1",
    "SupabaseUrl": "https://project.example.co",
    "WatchEnabled": "false",
    "SchedulesEnabled": "false",
}


class TwoStacks(OwnCloud):
    variables = {"AUTH": "true"}

    def setUp(self):
        super().setUp()
        self.binaries = self.directory / "functions"
        template = deploy._parse_template(TEMPLATE.read_text())
        for function in deploy.functions_of(template).values():
            program = self.binaries / deploy.binary_of(function) / "bootstrap"
            program.parent.mkdir(parents=True)
            program.write_text("#!/bin/sh\nexec sleep 600\n")

    def deploy(self, stack: str) -> dict:
        return deploy.deploy({
            "endpoint": self.endpoint,
            "template": str(TEMPLATE),
            "binaries": str(self.binaries),
            "stack": stack,
            "parameters": PARAMETERS,
            "secrets": {},
            "api_ids": {},
            "environment": {},
            "more_environment": {},
            "visibility_seconds": None,
            "sam": None,
        })

    def names(self, stack: str) -> set:
        """What the stack's resources are called, with their kinds; but for stages, whose names belong to their API."""
        pages = deploy.Cloud(self.endpoint).cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        names = {(resource["ResourceType"], resource["PhysicalResourceId"]) for resource in resources}
        return {(kind, name) for kind, name in names if kind != "AWS::ApiGatewayV2::Stage"}

    def test_a_second_stack_is_made_and_shares_nothing_with_the_first(self):
        for stack in ("ghl-sync", "ghl-sync-staging"):
            described = self.deploy(stack)
            self.assertEqual(len(described["functions"]), 12)
        first, second = self.names("ghl-sync"), self.names("ghl-sync-staging")
        self.assertEqual(len(first), len(second))
        self.assertEqual(len([kind for kind, _ in first if kind == "AWS::Scheduler::Schedule"]), 3)
        self.assertEqual(first & second, set())


if __name__ == "__main__":
    unittest.main()
