from rest_framework.routers import SimpleRouter

from dedup.api.views import (
    ConversationViewSet,
    ImportViewSet,
    MessageViewSet,
    WholeArchiveViewSet,
)

router = SimpleRouter()
router.register("archive", WholeArchiveViewSet, basename="archive")
router.register("imports", ImportViewSet, basename="import")
router.register("conversations", ConversationViewSet, basename="conversation")
router.register("messages", MessageViewSet, basename="message")

urlpatterns = router.urls
