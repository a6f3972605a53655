"""Which servers get a key of the environment: those that the user has named, not those that a file names."""

import os
from urllib.parse import urlsplit

# Hosts that may have OPENAI_API_KEY, beside OpenAI's own: HOST or HOST:PORT, with commas between them.
KEY_HOSTS = "PACELINE_KEY_HOSTS"
_OWN = ("https", "api.openai.com")


def may_have_key(url: str | None) -> bool:
    """Whether a judge's server gets OPENAI_API_KEY; None is the client's own choice, from the environment."""
    if url is None:
        return True
    parts = urlsplit(url)
    place = parts.netloc.lower()
    named = {name.strip().lower() for name in os.environ.get(KEY_HOSTS, "").split(",")}
    return (parts.scheme, place) == _OWN or bool(named & {place, parts.hostname})


def name_host(url: str) -> None:
    """The user has named a server on the command line: it may have the key, in this process."""
    os.environ[KEY_HOSTS] = ",".join(filter(None, [os.environ.get(KEY_HOSTS), urlsplit(url).netloc]))
