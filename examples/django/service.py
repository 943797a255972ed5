"""A Django REST framework service that checks by itself who calls it, with simplejwt. Run it with `gunicorn service`."""

import os

from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    REST_FRAMEWORK={
        # No table of users is asked: request.user is what the token says.
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    },
    SIMPLE_JWT={
        "ALGORITHM": "ES256",  # token.algorithm in portcullis.toml; ES256 or RS256
        "ISSUER": os.environ["PORTCULLIS_ISSUER"],  # token.issuer
        "AUDIENCE": os.environ["PORTCULLIS_AUDIENCE"],  # token.audience
        "JWK_URL": os.environ["PORTCULLIS_JWKS_URL"],  # the gateway's /.well-known/jwks.json
        "LEEWAY": 5,
    },
)

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

from django.urls import path  # noqa: E402
from rest_framework.permissions import BasePermission  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class IsSuperuser(BasePermission):
    """The claims of the token are in request.auth."""

    def has_permission(self, request, view):
        return "superuser" in request.auth.get("roles", [])


class Orders(APIView):
    def get_permissions(self):
        if self.request.method == "DELETE":
            return [*super().get_permissions(), IsSuperuser()]
        return super().get_permissions()

    def get(self, request):
        return Response({"user": request.user.id, "orders": []})

    def delete(self, request):
        """For administrators."""
        return Response(status=204)


urlpatterns = [path("orders", Orders.as_view())]
