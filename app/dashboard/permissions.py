"""Which buttons a page shows: those that only a logged-in browser may press, by its role."""

from __future__ import annotations

from app.access.service import ROLES, Principal, Role


def may(principal: Principal, role: Role) -> bool:
    """Whether this is a browser's session, and of a key with at least that role that is no annotator's own."""
    in_charge = principal.csrf_token is not None and principal.own_annotator is None
    return in_charge and ROLES.index(principal.role) >= ROLES.index(role)
