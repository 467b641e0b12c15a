from django.contrib import admin
from django.urls import path
from tests.sealed_shop.views import broken

urlpatterns = [path("admin/", admin.site.urls), path("broken/", broken)]
