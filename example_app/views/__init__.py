"""The routes: one blueprint a resource, one function a route, one transaction a function."""

from example_app.views.auth import auth
from example_app.views.conversations import conversations
from example_app.views.members import members
from example_app.views.messages import messages
from example_app.views.users import users

BLUEPRINTS = (auth, users, conversations, members, messages)
