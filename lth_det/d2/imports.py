"""Python modules of the user that a configuration names: they register criteria, allocations or group rules."""

import importlib
from collections.abc import Sequence

from lth_det.errors import ConfigError


def import_modules(names: Sequence[str]) -> None:
    """Import modules by name, in order; what they register can be named in the rest of the configuration.

    Only names are taken, no paths: Python finds them as it finds every module (installed, or in a folder of
    ``PYTHONPATH``). Importing runs their code, so only name what you trust.

    Args:
        names: such as ``("my_package.my_criterion",)``.

    Raises:
        ConfigError: a module is not found, or fails while it is imported.
    """
    for name in names:
        if not str(name).replace(".", "").isidentifier():
            raise ConfigError(
                f"LTH.IMPORTS has {name!r}, which is no module name; write 'my_package.my_module'."
            )
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"LTH.IMPORTS names {name}, but Python finds no module {error.name}; install it, or put its folder "
                    "into PYTHONPATH."
                ) from error
            raise ConfigError(
                f"LTH.IMPORTS names {name}, which needs the module {error.name}; install that."
            ) from error
        except Exception as error:  # whatever the user's module raises
            raise ConfigError(
                f"LTH.IMPORTS names {name}, which fails when it is imported ({type(error).__name__}: {error})."
            ) from error
