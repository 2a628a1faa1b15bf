"""Ray's own command, with the code, the libraries and the interpreter of this checkout.

python -m retort.data.ray_command start --head

A node that is started so reads exactly as `retort.data.prepare` does.
"""

from ray.scripts.scripts import main

if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
