"""The id of a submission in the path of a request."""

import re
from http import HTTPStatus
from typing import Final

from aiohttp import web

from verdictd.contract.fields import Schema
from verdictd.contract.submission import ID_PATTERN
from verdictd.web.responses import HttpError

BAD_ID: Final = "An id has 1 to 128 of A-Z a-z 0-9 . _ : -"
ID_PARAMETER: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Id of the submission.",
    "schema": {"type": "string", "pattern": ID_PATTERN},
}


def submission_id(request: web.Request) -> str:
    """Return the id; raises HttpError if no submission can have it."""
    found = request.match_info["id"]
    if not re.fullmatch(ID_PATTERN, found):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"{BAD_ID}.")
    return found
