"""Hooks of schemathesis for what the OpenAPI document cannot express.

prepare changes requests before they are sent. keep drops the findings that are no defects. Each rule
for them has its reason, and every other finding fails the test.
"""

import json
import re

import jsonschema_rs
import schemathesis

DURATION = re.compile(r"([0-9]+(\.[0-9]{1,9})?)s")

# Longest wait for an event, in seconds. The gateway allows 60 s, which would take too long.
MAX_WAIT = 0.05

used_request_ids = set()


@schemathesis.hook("before_call")
def prepare(context, case, kwargs):
    """Change a request so that it is quick, and so that the gateway can accept it if it is valid."""
    wait = DURATION.fullmatch(str(case.query.get("wait")))
    if wait and float(wait[1]) > MAX_WAIT:
        case.query["wait"] = f"{MAX_WAIT}s"
    request_id = case.body.get("request_id") if isinstance(case.body, dict) else None
    header = case.headers.get("Idempotency-Key")
    if case.meta.generation.mode.is_positive:
        # OpenAPI has no rule that parameters exclude each other.
        starts = [name for name in ("cursor", "start_time", "position") if name in case.query]
        for name in starts[1:]:
            del case.query[name]
        # The header must not differ from the field. OpenAPI has no rule for both.
        if request_id and header:
            header = None
            del case.headers["Idempotency-Key"]
        # An id must not be used again with other fields, and many requests have the id of an example.
        if request_id and forms(request_id) & used_request_ids:
            request_id = case.body["request_id"] = f"another-{len(used_request_ids)}"
        if header and forms(header) & used_request_ids:
            header = case.headers["Idempotency-Key"] = f"another-{len(used_request_ids)}"
    for used in request_id, header:
        if isinstance(used, str):
            used_request_ids.update(forms(used))


def forms(request_id):
    """Return an id as it is and without the quotes that a header may have."""
    return {request_id, request_id.strip('"')}


@schemathesis.hook("filter_failure")
def keep(context, failure, case, response):
    """Report whether a finding is a defect."""
    return not any(rule(case, response) for rule in RULES.get(failure.code, []))


def details(response):
    """Return the reason and the violations of an error."""
    reason, violations = "", []
    for detail in json.loads(response.content)["details"]:
        reason = reason or detail.get("reason")
        violations += detail.get("field_violations", [])
    return reason, violations


def answered_by_net_http(case, response):
    """net/http itself answers headers over 64 KiB, with text. The document describes that in words."""
    return response.status_code == 431 and len(response.request.url) > 60 << 10


def null_is_absent(case, response):
    """The JSON mapping of Protocol Buffers treats null as an absent field."""
    if not isinstance(case.body, dict) or None not in case.body.values():
        return False
    document = case.operation.schema.raw_schema
    content = document["paths"][case.path][case.method.lower()]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    return jsonschema_rs.is_valid(schema, {name: value for name, value in case.body.items() if value is not None})


def unknown_cursor(case, response):
    """A schema cannot describe which cursors exist."""
    return response.status_code == 400 and details(response)[0].startswith("CURSOR_")


def bound_without_keyword(case, response):
    """JSON Schema bounds the characters of a text but not its bytes, and it cannot bound a time."""
    if response.status_code != 400:
        return False
    fields = case.query if case.method == "GET" else case.body

    def is_without_keyword(violation):
        value = str(fields[violation["field"].partition("[")[0]])
        return violation["reason"] == "STRING_MAX_BYTES" and not value.isascii() or violation["reason"] == "TIMESTAMP_GTE"

    violations = details(response)[1]
    return bool(violations) and all(map(is_without_keyword, violations))


def url_too_large(case, response):
    """Each parameter is within its bounds, but the URL is not. The bound is 16 KiB with the headers."""
    return response.status_code == 431 and len(response.request.url) > 15 << 10


# The rules by the code of a kind of finding.
RULES = {
    "ST105": [answered_by_net_http],  # undocumented content type
    "ST201": [null_is_absent],  # schema-violating request accepted
    "ST202": [unknown_cursor, bound_without_keyword, url_too_large],  # schema-valid request rejected
}
