"""Reads sources of documents: JSON objects, one an argument, each answered by a line of JSON.

A line has the documents (text, label, part) and the bad rows of a source, or its error.
"""

import json
import sys

from retort.core.errors import UserError
from retort.data.config import SourceConfig
from retort.data.sources.read import decoder_of, stream_documents

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        config = SourceConfig.model_validate(json.loads(argument))
        decoder = decoder_of(config)
        try:
            found = [[one.text, one.label, one.part] for one in stream_documents(config, decoder)]
            print(json.dumps([found, dict(decoder.tally.bad)]))
        except UserError as error:
            print(json.dumps(f"{type(error).__name__}: {error}"))
