package az

// MendRole is a sitecustomize.py that mends Debian's azure-cli 2.45 from outside:
// all of its role commands ask the authorization library for a property that the
// library has under another name.
const MendRole = `import importlib.abc, importlib.machinery, sys

class Mend(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not (name.startswith("azure.mgmt.authorization.v") and name.endswith(".operations")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            for thing in vars(module).values():
                if isinstance(thing, type) and not hasattr(thing, "config"):
                    thing.config = property(lambda self: self._config)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Mend())
`
