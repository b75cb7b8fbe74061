from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path

#: A second admin site with Callboard's pages in it, under another path and name.
office = admin.AdminSite(name="office")
for model, model_admin in admin.site._registry.items():
    office.register(model, type(model_admin))


def no_handler(*args):
    raise AssertionError("Callboard asks the project's exception handler")


def shop_api(request):
    return HttpResponse("<h1>Not Callboard's</h1>", status=404)


urlpatterns = [
    path("office/", office.urls),
    path("deep/down/", include("callboard.urls")),
    path("api/v1/orders", shop_api),
]
