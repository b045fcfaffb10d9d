"""What the extension `safeupdate` refuses, found by Postgres's own parser.

Hosted Supabase projects load it into each session of PostgREST's login: an update or a delete without a condition fails there
(SQLSTATE 21000), also in a function and in a common table expression. A plain Postgres doesn't have it. `where true` is a condition
to it, so a statement that is meant for all rows says so. Migrations and `do` blocks run as the owner, whom it lets alone.
"""

from collections.abc import Iterator

from pglast import ast, parse_plpgsql, parse_sql, split
from pglast.visitors import Visitor

# How PL/pgSQL's parser marks an expression, as opposed to a statement: `RawParseMode` of Postgres.
STATEMENT = 0
# A statement that is put together while it runs: nobody can read it before.
DYNAMIC = {"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery"}


class _Unconditional(Visitor):
    def __init__(self):
        super().__init__()
        self.found = []

    def visit_UpdateStmt(self, _ancestors, node):
        self._look("update", node)

    def visit_DeleteStmt(self, _ancestors, node):
        self._look("delete", node)

    def _look(self, verb, node):
        if node.whereClause is None:
            self.found.append(f"{verb} of {node.relation.relname} without a condition")


def refused(sql: str) -> dict[str, list[str]]:
    """The functions that a file makes, each with what would be refused in it."""
    found = {}
    for statement in split(sql):
        (raw,) = parse_sql(statement)
        if isinstance(raw.stmt, ast.CreateFunctionStmt):
            found[".".join(part.sval for part in raw.stmt.funcname)] = list(_body(statement, raw.stmt))
    return found


def _body(statement: str, function: ast.CreateFunctionStmt) -> Iterator[str]:
    options = {option.defname: option.arg for option in function.options or ()}
    language = options["language"].sval if "language" in options else "sql"
    if language == "plpgsql":
        yield from _procedural(parse_plpgsql(statement))
    elif language != "sql":
        yield f"a body in {language}, which can't be read here"
    elif function.sql_body is not None:
        yield from _unconditional(function.sql_body)
    else:
        yield from _unconditional(parse_sql(options["as"][0].sval))


def _unconditional(statements) -> list[str]:
    visitor = _Unconditional()
    visitor(statements)
    return visitor.found


def _procedural(node) -> Iterator[str]:
    """Statements stand as texts in the tree that PL/pgSQL's parser makes."""
    if isinstance(node, list):
        for part in node:
            yield from _procedural(part)
    elif isinstance(node, dict):
        for kind, part in node.items():
            if kind in DYNAMIC:
                yield "a statement made while it runs, which can't be read here"
            if kind == "PLpgSQL_expr" and part.get("parseMode", STATEMENT) == STATEMENT:
                yield from _unconditional(parse_sql(part["query"]))
            else:
                yield from _procedural(part)
