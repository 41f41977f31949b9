from ..proxy import Proxy, proxying

__all__ = ["Proxy", "proxying"]
