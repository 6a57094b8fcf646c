"""A digest of any Python value that covers all of its content, or says what it can't tell.

Plain values, containers, arrays, tensors, functions (their code, defaults, closures and the globals
they read), classes (their bases and all they define), modules of torch, and instances of all of
these. The user's own code counts by what it does; a library's by its name, for its version is told
elsewhere. Neither addresses nor the order of sets nor folders enter.
"""

from __future__ import annotations

from crucibench.util.content.shallow import OpaqueError as OpaqueError
from crucibench.util.content.walk import Content as Content
from crucibench.util.content.walk import content_of as content_of
from crucibench.util.content.walk import steady_content as steady_content
