"""What Mitsuba 3.10 and later import, and reload, when a variant becomes active (entry point group `mitsuba`)."""

from .register import register

register()
