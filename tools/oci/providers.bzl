"""What layers and images tell each other."""

OciLayersInfo = provider(
    doc = "Layers that were written, the lowest first.",
    fields = {
        "layers": "list of struct(tar, index): a tar and what stands in it, both files",
    },
)

OciImageInfo = provider(
    doc = "An image: what another one on top of it takes over.",
    fields = {
        "contents": "file: the packages of all layers",
        "digest": "file: the digest of the manifest",
        "layers": "list of struct(blob, index, descriptor); the descriptor is None where the blob is the tar itself",
        "layout": "directory: the image layout",
        "settings": "dict: the configuration",
    },
)
