"""A schedule whose name is taken fails its stack.

A schedule's name is unique in the account and region, and CloudFormation stops at a name that is taken. ministack
overlooks the refusal: a second stack would share the first one's schedules here and fail only on AWS.
"""


def apply() -> None:
    from ministack.services import scheduler
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]
    create = handlers["create"]

    def create_unless_taken(logical_id, props, stack_name):
        name, group = props.get("Name"), props.get("GroupName", "default")
        if name and f"{group}/{name}" in scheduler._schedules:
            raise ValueError(f"Schedule {name} already exists in group {group}.")
        return create(logical_id, props, stack_name)

    handlers["create"] = create_unless_taken
