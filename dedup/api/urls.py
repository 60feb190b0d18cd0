from rest_framework.routers import SimpleRouter

from dedup.api.views import ConversationViewSet, ImportViewSet, MessageViewSet

router = SimpleRouter()
router.register("imports", ImportViewSet, basename="import")
router.register("conversations", ConversationViewSet, basename="conversation")
router.register("messages", MessageViewSet, basename="message")

urlpatterns = router.urls
