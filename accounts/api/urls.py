from django.urls import path

from accounts.api.views.account import AccountViewSet
from accounts.api.views.activity import ActivityViewSet

urlpatterns = [
    path("account/", AccountViewSet.as_view({"get": "retrieve"}), name="account"),
    path("activity/", ActivityViewSet.as_view({"get": "list"}), name="activity"),
]
