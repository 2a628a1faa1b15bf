"""Stands in for setuptools while pip downloads a source archive.

pip asks what an archive needs before it leaves it in a folder, and the answer would come from running the archive's
setup.py. This answers from the archive's own PKG-INFO (the hook of PEP 517 that gives metadata), so nothing of it runs.
"""

import email.parser
import pathlib
import shutil


class _Backend:
    def prepare_metadata_for_build_wheel(
        self, directory: str, settings: object | None = None
    ) -> str:
        stated = email.parser.BytesParser().parsebytes(pathlib.Path("PKG-INFO").read_bytes())
        folder = pathlib.Path(
            directory, f"{stated['Name'].replace('-', '_')}-{stated['Version']}.dist-info"
        )
        folder.mkdir()
        shutil.copy("PKG-INFO", folder / "METADATA")
        return folder.name


__legacy__ = _Backend()
